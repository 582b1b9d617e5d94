"""Commands report on stderr what readers of a transcript should know, and nothing if all is well."""

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from smelt.backend.client_rpc import ClientRpc, ListedFile, ListedSmelt
from smelt.cli import list as list_command
from smelt.cli import output, show
from smelt.cli.output import Exit
from smelt.cli.show import ShowFormat
from smelt.cli.trust_summary import trust_summary
from smelt.cli.view import follow
from smelt.contract.state import FileSegment, FileState, LanguageShare, Snapshot, Trust
from smelt.subscriber.updates import Completed, Update

ID, FILE_ID = UUID(int=1), UUID(int=2)
UNREMARKABLE: dict[str, object] = {"untranscribed_seconds": 0.0, "damaged_seconds": 0.0, "clock_jumps": 0}
HOLE: dict[str, object] = {"untranscribed_seconds": 25.4, "untranscribed": ((28.2, 53.6),)}
JUMP = "a jump of the recording's clock, after which times are those of the sound alone"
HOLE_SUMMARY = "25 s of speech not transcribed (0:28 to 0:54)"


def trust_with(**values: object) -> Trust:
    return Trust.model_validate(
        {"silence_seconds": 3, "low_confidence_segments": (1,), "repeated_segments": (), **values}
    )


@pytest.fixture(autouse=True)
def wide_consoles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.OUT, "_width", 400)
    monkeypatch.setattr(output.ERR, "_width", 400)


@pytest.mark.parametrize(
    "trust",
    [
        None,
        trust_with(),
        trust_with(**UNREMARKABLE, model="small", retried=((0, 30),)),
        trust_with(untranscribed_seconds=0.9, untranscribed=((1, 1.9),)),
        trust_with(languages=(LanguageShare(language="de", share=1, seconds=40),)),
    ],
)
def test_trust_summary_is_empty_if_there_is_nothing_to_report(trust: Trust | None) -> None:
    assert trust_summary(trust) == ""


@pytest.mark.parametrize(
    ("values", "summary"),
    [
        (HOLE, HOLE_SUMMARY),
        ({"untranscribed_seconds": 150}, "2 min of speech not transcribed"),
        (
            {"damaged_seconds": 7.0, "damaged": tuple((n * 10, n * 10 + 1) for n in range(7))},
            f"7.0 s of the recording damaged ({', '.join(f'0:{n}0 to 0:{n}1' for n in range(5))}, 2 more)",
        ),
        ({"damaged_seconds": 0.02}, "0.1 s of the recording damaged"),
        ({"clock_jumps": 1}, JUMP),
        ({"clock_jumps": 2}, "2 jumps of the recording's clock, after which times are those of the sound alone"),
        ({"track": 2, "track_count": 3}, "audio track 2 of 3 transcribed"),
        ({"track": 2}, "audio track 2 transcribed"),
        ({"channel": 1}, "only channel 1 transcribed, because the channels cancel each other out"),
        ({"track": 2, "clock_jumps": 1, "damaged_seconds": 2},
         f"2.0 s of the recording damaged; {JUMP}; audio track 2 transcribed"),
        (
            {"languages": (
                {"language": "de", "share": 0.634, "seconds": 41.2},
                {"language": "en", "share": 0.366, "seconds": 24},
            )},
            "languages de 63 %, en 37 %",
        ),
    ],
)  # fmt: skip
def test_trust_summary_reports_what_readers_should_know(values: dict[str, object], summary: str) -> None:
    assert trust_summary(trust_with(**values)) == summary


def snapshot_with(*trusts: Trust | None) -> Snapshot:
    files = tuple(
        FileState.model_construct(id=UUID(int=n), filename=f"[{n}].mp3", trust=trust, error_code=None)
        for n, trust in enumerate(trusts, start=2)
    )
    segment = FileSegment(file_id=FILE_ID, index=0, start=60, end=62, text="It is late.")
    return Snapshot.model_construct(
        id=ID, files=files, segments=(segment,), status="completed", results=(), worker_online=True
    )


class StubClient:
    """A client of one completed smelt."""

    polling = True

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    async def get(self, smelt_id: UUID, *, with_words: bool = False) -> Snapshot:
        return self._snapshot

    async def watch(self, smelt_id: UUID, *, connection_events: bool) -> AsyncIterator[Update]:
        yield Completed(
            smelt_id=ID, outcome="complete", results=(), completed_at=datetime(2026, 1, 2, tzinfo=UTC), seq=7, run=1
        )


async def test_watch_prints_the_trust_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    client: Any = StubClient(snapshot_with(trust_with(**HOLE), trust_with(**UNREMARKABLE)))
    assert await follow(client, ID, {FILE_ID: "a.mp3"}, as_json=False) is Exit.DONE
    captured = capsys.readouterr()
    assert captured.err == f"[2].mp3: {HOLE_SUMMARY}\n"
    assert HOLE_SUMMARY not in captured.out


@pytest.mark.parametrize("form", ["txt", "md"])
async def test_show_prints_the_trust_to_stderr_and_marks_the_transcript(
    form: ShowFormat, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def connect() -> AsyncIterator[StubClient]:
        yield StubClient(snapshot_with(trust_with(**HOLE)))

    monkeypatch.setattr(show, "connect", connect)
    assert await show._show(ID, form, None) is Exit.DONE
    captured = capsys.readouterr()
    assert captured.err == f"[2].mp3: {HOLE_SUMMARY}\n"
    if form == "txt":
        assert captured.out == "[speech not transcribed, 0:28 to 0:54]\nIt is late.\n"


@pytest.mark.parametrize("as_json", [False, True])
async def test_list_prints_the_trust_to_stderr_and_keeps_its_json_lines(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = (
        ListedFile(filename="[b].mp3", position=1, trust=trust_with(**HOLE)),
        ListedFile(filename="a.mp3", position=0, trust=trust_with(**UNREMARKABLE)),
    )
    smelt = ListedSmelt(
        id=ID,
        user_id=None,
        status="completed",
        percentage=100,
        outcome="complete",
        error_code=None,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        completed_at=None,
        files=files,
    )

    @asynccontextmanager
    async def open_as_user(settings: object, objects: str) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(rpc=None)

    async def list_smelts(rpc: ClientRpc, count: int, *, statuses: Collection[str]) -> tuple[ListedSmelt, ...]:
        return (smelt,)

    monkeypatch.setattr(list_command, "open_as_user_or_service", open_as_user)
    monkeypatch.setattr(list_command, "user_token", lambda settings: "token")
    monkeypatch.setattr(ClientRpc, "list_smelts", list_smelts)
    assert await list_command._list(20, only_open=False, as_json=as_json) is Exit.DONE
    captured = capsys.readouterr()
    if as_json:
        assert captured.err == ""
        assert json.loads(captured.out)["files"][0] == {"filename": "[b].mp3", "position": 1}
    else:
        assert captured.err == f"{ID} [b].mp3: {HOLE_SUMMARY}\n"
