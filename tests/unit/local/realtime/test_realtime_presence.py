"""The differences of presences."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from smelt.local.realtime.presence import CallLimit, Roster, references


def test_presence_track_again_returns_joins_and_leaves() -> None:
    roster = Roster(references("r"))
    assert not roster
    assert roster.track("a", "ka", {"name": "alice"}) == {
        "joins": {"ka": {"metas": [{"name": "alice", "phx_ref": "r1"}]}},
        "leaves": {},
    }
    assert roster.track("a", "ka", {"name": "alice2"}) == {
        "joins": {"ka": {"metas": [{"name": "alice2", "phx_ref": "r2", "phx_ref_prev": "r1"}]}},
        "leaves": {"ka": {"metas": [{"name": "alice", "phx_ref": "r1"}]}},
    }
    assert roster.untrack("b") is None
    difference: Any = roster.untrack("a")
    assert difference["leaves"]["ka"]["metas"][0]["phx_ref"] == "r2"
    assert roster.state() == {}


owners = st.integers(0, 4)


@given(st.lists(st.tuples(owners, st.sampled_from("xyz"), st.booleans())))
def test_presence_diffs_add_up_to_the_state(steps: list[tuple[int, str, bool]]) -> None:
    """A client that applies joins and leaves gets the current state."""
    roster, known = Roster(references("")), {}
    keys: dict[int, str] = {}
    for owner, key, stays in steps:
        difference: Any
        if stays:
            difference = roster.track(owner, keys.setdefault(owner, key), {})
        else:
            keys.pop(owner, None)
            difference = roster.untrack(owner)
        if difference is None:
            continue
        for entry in difference["leaves"].values():
            for meta in entry["metas"]:
                del known[meta["phx_ref"]]
        for name, entry in difference["joins"].items():
            for meta in entry["metas"]:
                known[meta["phx_ref"]] = name
    state: Any = roster.state()
    assert known == {meta["phx_ref"]: name for name, entry in state.items() for meta in entry["metas"]}


def test_call_limit_window_starts_with_the_first_call() -> None:
    limit = CallLimit(max_calls=2, window_s=30)
    assert [limit.allows(now) for now in (0, 29, 30)] == [True, True, False]
    assert [limit.allows(now) for now in (31, 32, 33)] == [True, True, False]
