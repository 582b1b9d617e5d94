"""The table of permissions in the README of the database: every cell is tried against a running project."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from smelt.contract.channels import (
    WORKERS_CHANNEL,
    batch_channel,
    feed_channel,
    notifications_channel,
    smelt_channel,
)
from tests.acceptance.commands import ROOT
from tests.harness.realtime_socket import Socket, connected
from tests.harness.stacks import Stack, sign_up

CALLERS: Final = ("visitor", "another user", "owner", "worker")
AUDIO: Final = b"RIFF\x24\x00\x00\x00WAVEfmt "
FILES: Final = [{"filename": "a.wav", "size_bytes": len(AUDIO)}]

Allowed = dict[str, bool]


def _table() -> dict[str, Allowed]:
    """Return the callers allowed for each action of the table, such as `call get_smelt` or `read smelts`."""
    section = (ROOT / "supabase" / "README.md").read_text().partition("## Who may do what")[2].partition("\n#")[0]
    named: dict[str, Allowed] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or "`" not in cells[0]:
            continue
        allowed = {caller: cell == "yes" for caller, cell in zip(CALLERS, cells[1:], strict=True)}
        for verb in cells[0].partition("`")[0].strip().split(", "):
            named |= {f"{verb} {name}": allowed for name in re.findall("`([^`]+)`", cells[0])}
    return named


TABLE: Final = _table()


class Caller:
    """A caller of the API, with a key, and a token if signed in."""

    def __init__(self, project: Stack, key: str, token: str | None = None) -> None:
        self.key = key
        self.token = token or key
        self.http = httpx.Client(
            base_url=project.api_url, headers={"apikey": key, "Authorization": f"Bearer {self.token}"}, timeout=30
        )

    def rpc(self, function: str, **arguments: object) -> httpx.Response:
        return self.http.post(f"/rest/v1/rpc/{function}", json=arguments)

    def call(self, function: str, **arguments: object) -> Any:
        """Call a function and return its result; fail if the call is rejected."""
        response = self.rpc(function, **arguments)
        response.raise_for_status()
        return response.json()

    def write(self, method: str, table: str, query: dict[str, str], **values: object) -> bool:
        """Return True if rows were written; rows that row level security hides are not."""
        response = self.http.request(
            method, f"/rest/v1/{table}", params=query, json=values, headers={"Prefer": "return=representation"}
        )
        return response.is_success and bool(response.json())

    def upload(self, path: str, content: bytes = AUDIO, **headers: str) -> bool:
        return self.http.post(f"/storage/v1/object/smelt-audio/{path}", content=content, headers=headers).is_success

    def broadcast(self, topic: str, event: str) -> None:
        """Send on a private channel over HTTP; the response does not show whether it was delivered."""
        message = {"topic": topic, "event": event, "payload": {}, "private": True}
        self.http.post("/realtime/v1/api/broadcast", json={"messages": [message]})


class Accounts:
    """The four callers of the table, and functions that create the smelts to act on."""

    def __init__(self, project: Stack) -> None:
        self.api_url = project.api_url
        self._made: list[str] = []
        self._webhooks: list[str] = []
        other, owner = sign_up(project), sign_up(project)
        self.owner_id, self.other_id = owner.id, other.id
        self.by_name = {
            "visitor": Caller(project, project.anon_key),
            "another user": Caller(project, project.anon_key, other.access_token),
            "owner": Caller(project, project.anon_key, owner.access_token),
            "worker": Caller(project, project.service_role_key),
        }
        self.owner, self.worker = self.by_name["owner"], self.by_name["worker"]

    def make(self, maker: str = "owner", *, text: bool = False) -> dict[str, Any]:
        """Create a smelt of one recording that is not uploaded yet, or of a text, which is claimable at once."""
        arguments: dict[str, object] = {"text_input": "Some notes."} if text else {"files": FILES}
        created: dict[str, Any] = self.by_name[maker].call("create_smelt", **arguments)
        self._made.append(created["id"])
        return created

    def make_webhook(self) -> dict[str, Any]:
        created: dict[str, Any] = self.owner.call("create_smelt_webhook", url="https://hook.example/")
        self._webhooks.append(created["id"])
        return created

    def clear(self) -> None:
        """Delete the created smelts and webhooks: a visitor may have only three open smelts."""
        while self._webhooks:
            self.worker.rpc("delete_smelt_webhook", webhook_id=self._webhooks.pop())
        while self._made:
            self.worker.rpc("delete_smelt", smelt_id=self._made.pop())

    def make_uploaded(self, maker: str = "owner") -> dict[str, Any]:
        created = self.make(maker)
        assert self.by_name[maker].upload(created["files"][0]["upload_path"])
        return created

    def make_ended(self, maker: str = "owner") -> dict[str, Any]:
        created = self.make_uploaded(maker)
        self.by_name[maker].call("submit_smelt", smelt_id=created["id"])
        self.by_name[maker].call("cancel_smelt", smelt_id=created["id"])
        return created

    def make_claimed(self, maker: str = "owner") -> dict[str, Any]:
        created = self.make(maker, text=True)
        claims = self.worker.call("claim_smelts", worker_id=str(uuid4()), max_count=100)["smelts"]
        [claim] = [claim for claim in claims if claim["id"] == created["id"]]
        return {**created, "attempt": claim["attempt"]}

    def make_completed(self) -> dict[str, Any]:
        """Create a smelt with a segment, a result and a notification."""
        claim = self.make_claimed()
        file_id = claim["files"][0]["id"]
        segment = {"file_id": file_id, "index": 0, "start": 0, "end": 1, "text": "hello"}
        which = {"smelt_id": claim["id"], "attempt": claim["attempt"]}
        self.worker.call("report_smelt_progress", **which, status="synthesizing", segments=[segment])
        result = {"file_id": file_id, "filename": "a", "content": "b"}
        self.worker.call("complete_smelt", **which, results=[result])
        return claim

    def make_transcribed(self, maker: str = "owner") -> dict[str, Any]:
        """Create a smelt with a finished transcript of one speaker."""
        claim = self.make_claimed(maker)
        file_id = claim["files"][0]["id"]
        segment = {"file_id": file_id, "index": 0, "start": 0, "end": 1, "text": "hello", "speaker": "Speaker 1"}
        self.worker.call(
            "report_smelt_progress",
            smelt_id=claim["id"],
            attempt=claim["attempt"],
            status="synthesizing",
            files=[{"id": file_id, "transcribed": True}],
            segments=[segment],
        )
        return claim


@pytest.fixture(scope="module")
def accounts(stack: Stack) -> Iterator[Accounts]:
    everybody = Accounts(stack)
    yield everybody
    for caller in everybody.by_name.values():
        caller.http.close()


@dataclass(frozen=True)
class PermissionCase:
    """An action of the table: `given` creates its subject, `attempt` tries it and returns True if it succeeded."""

    given: Callable[[Accounts], Any]
    attempt: Callable[[Caller, Any], bool]


def _no_subject(_: Accounts) -> None:
    return None


def _call(
    function: str, given: Callable[[Accounts], Any] = _no_subject, **arguments: Callable[[Any], object]
) -> PermissionCase:
    def attempt(caller: Caller, subject: Any) -> bool:
        return caller.rpc(function, **{name: value(subject) for name, value in arguments.items()}).is_success

    return PermissionCase(given, attempt)


def _id(subject: Any) -> object:
    return subject["id"]


def _client_functions(maker: str) -> dict[str, PermissionCase]:
    """Return the functions that take a smelt, each with a smelt that this caller created."""
    return {
        "get_smelt": _call("get_smelt", lambda accounts: accounts.make(maker), smelt_id=_id),
        "get_smelts": PermissionCase(lambda accounts: accounts.make(maker), _is_listed),
        "submit_smelt": _call("submit_smelt", lambda accounts: accounts.make_uploaded(maker), smelt_id=_id),
        "cancel_smelt": _call("cancel_smelt", lambda accounts: accounts.make(maker), smelt_id=_id),
        "retry_smelt": _call("retry_smelt", lambda accounts: accounts.make_ended(maker), smelt_id=_id),
        "rename_smelt_speaker": _call(
            "rename_smelt_speaker",
            lambda accounts: accounts.make_transcribed(maker),
            smelt_id=_id,
            speaker=lambda _: "Speaker 1",
            name=lambda _: "Ann",
        ),
        "delete_smelt": _call("delete_smelt", lambda accounts: accounts.make(maker), smelt_id=_id),
    }


def _is_listed(caller: Caller, subject: Any) -> bool:
    response = caller.rpc("get_smelts", smelts=[{"id": subject["id"]}])
    return response.is_success and [state["id"] for state in response.json()["smelts"]] == [subject["id"]]


def _worker_functions() -> dict[str, PermissionCase]:
    who: dict[str, Callable[[Any], object]] = {"worker_id": lambda _: str(uuid4())}
    which: dict[str, Callable[[Any], object]] = {"smelt_id": _id, "attempt": lambda subject: subject["attempt"]}
    file_id: Callable[[Any], object] = lambda subject: subject["files"][0]["id"]  # noqa: E731
    return {
        "claim_smelts": _call("claim_smelts", **who),
        "report_smelt_progress": _call("report_smelt_progress", Accounts.make_claimed, **which),
        "renew_smelt_leases": _call("renew_smelt_leases", **who, leases=lambda _: []),
        "load_smelt_segments": _call("load_smelt_segments", Accounts.make_claimed, smelt_id=_id, file_id=file_id),
        "complete_smelt": _call("complete_smelt", Accounts.make_claimed, **which, results=lambda _: []),
        "fail_smelt": _call("fail_smelt", Accounts.make_claimed, **which, error_code=lambda _: "internal_error"),
        "release_smelt": _call("release_smelt", Accounts.make_claimed, **which),
        "dispatch_smelt": _call("dispatch_smelt", Accounts.make_claimed, **which),
        "report_dispatched_smelt": _call("report_dispatched_smelt", Accounts.make_claimed, **which),
        "claim_smelt_outbox": _call("claim_smelt_outbox", **who),
        "settle_smelt_outbox": _call("settle_smelt_outbox", ids=lambda _: []),
        "list_expired_smelts": _call("list_expired_smelts", **who),
        "confirm_smelts_purged": _call("confirm_smelts_purged", paths=lambda _: [], smelt_ids=lambda _: []),
        "heartbeat_smelt_worker": _call("heartbeat_smelt_worker", **who, info=lambda _: {}),
        "get_smelt_health": _call("get_smelt_health"),
        "get_smelt_attempts": _call("get_smelt_attempts", Accounts.make, smelt_id=_id),
    }


def _webhook_functions() -> dict[str, PermissionCase]:
    names = (
        "update_smelt_webhook",
        "rotate_smelt_webhook_secret",
        "test_smelt_webhook",
        "get_smelt_webhook_deliveries",
        "delete_smelt_webhook",
    )
    return {
        "create_smelt_webhook": PermissionCase(lambda accounts: accounts, _created_webhook),
        **{name: _call(name, Accounts.make_webhook, webhook_id=_id) for name in names},
        "claim_smelt_webhook_deliveries": _call("claim_smelt_webhook_deliveries", worker_id=lambda _: str(uuid4())),
        "settle_smelt_webhook_delivery": _call(
            "settle_smelt_webhook_delivery", delivery_id=lambda _: str(uuid4()), attempt=lambda _: 1
        ),
    }


def _created_webhook(caller: Caller, accounts: Any) -> bool:
    response = caller.rpc("create_smelt_webhook", url="https://hook.example/")
    if response.is_success:
        accounts.worker.call("delete_smelt_webhook", webhook_id=response.json()["id"])
    return response.is_success


OWNED_ROWS: Final = {
    "smelts": "id",
    "smelt_files": "smelt_id",
    "smelt_segments": "smelt_id",
    "smelt_results": "smelt_id",
    "smelt_notifications": "smelt_id",
}


def _batch(accounts: Accounts) -> dict[str, str]:
    return {"id": f"eq.{accounts.owner.call('create_smelt_batch', title='monday')['id']}"}


def _prompt(accounts: Accounts) -> dict[str, str]:
    response = accounts.owner.http.post(
        "/rest/v1/smelt_prompts",
        json={"name": str(uuid4()), "content": "Make it shorter."},
        headers={"Prefer": "return=representation"},
    )
    response.raise_for_status()
    return {"id": f"eq.{response.json()[0]['id']}"}


def _rows(table: str) -> Callable[[Accounts], dict[str, str]]:
    """Return a function that creates rows of the owner in a table and returns the query for them."""
    if table in OWNED_ROWS:
        return lambda accounts: {OWNED_ROWS[table]: f"eq.{accounts.make_completed()['id']}"}
    return {
        "smelt_batches": _batch,
        "smelt_prompts": _prompt,
        "smelt_webhooks": lambda accounts: {"id": f"eq.{accounts.make_webhook()['id']}"},
    }[table]


def _read(caller: Caller, table: str, query: dict[str, str]) -> bool:
    response = caller.http.get(f"/rest/v1/{table}", params=query)
    return response.is_success and bool(response.json())


def _may_insert(caller: Caller, table: str, row: dict[str, str]) -> bool:
    """Return True unless the privilege is missing: a row that is rejected as incomplete could be completed."""
    response = caller.http.post(f"/rest/v1/{table}", json=row)
    return response.is_success or response.json()["code"] != "42501"


def _table_cases(table: str) -> dict[str, PermissionCase]:
    given = _rows(table)
    changed = {
        "smelts": {"status": "completed"},
        "smelt_files": {"filename": "x"},
        "smelt_segments": {"text": "x"},
        "smelt_results": {"content": "x"},
        "smelt_batches": {"title": "x"},
        "smelt_notifications": {"message": "x"},
        "smelt_prompts": {"content": "x"},
        "smelt_webhooks": {"url": "x"},
    }[table]
    new = {"name": str(uuid4()), **changed} if table == "smelt_prompts" else changed
    return {
        f"read {table}": PermissionCase(given, lambda caller, query: _read(caller, table, query)),
        f"insert into {table}": PermissionCase(_no_subject, lambda caller, _: _may_insert(caller, table, new)),
        f"update {table}": PermissionCase(given, lambda caller, query: caller.write("PATCH", table, query, **changed)),
        f"delete from {table}": PermissionCase(given, lambda caller, query: caller.write("DELETE", table, query)),
    }


def _marked(caller: Caller, query: dict[str, str]) -> bool:
    now = "2026-01-01T00:00:00Z"
    return caller.write("PATCH", "smelt_notifications", query, seen_at=now, read_at=now)


def _path(subject: Any) -> str:
    return str(subject["files"][0]["upload_path"])


def _submitted(accounts: Accounts) -> dict[str, Any]:
    created = accounts.make_uploaded()
    accounts.owner.call("submit_smelt", smelt_id=created["id"])
    return created


def _object_cases() -> dict[str, PermissionCase]:
    return {
        "upload": PermissionCase(Accounts.make, lambda caller, smelt: caller.upload(_path(smelt))),
        "upload unannounced": PermissionCase(
            Accounts.make, lambda caller, smelt: caller.upload(f"{_path(smelt)}.more")
        ),
        "upload more than announced": PermissionCase(
            Accounts.make, lambda caller, smelt: caller.upload(_path(smelt), AUDIO + b"x")
        ),
        "overwrite": PermissionCase(
            Accounts.make_uploaded, lambda caller, smelt: caller.upload(_path(smelt), **{"x-upsert": "true"})
        ),
        "download": PermissionCase(
            _submitted,
            lambda caller, smelt: (
                caller.http.get(f"/storage/v1/object/authenticated/smelt-audio/{_path(smelt)}").is_success
            ),
        ),
        "list": PermissionCase(
            _submitted,
            lambda caller, smelt: bool(
                caller.http.post(
                    "/storage/v1/object/list/smelt-audio", json={"prefix": _path(smelt).rpartition("/")[0]}
                ).json()
            ),
        ),
        "remove": PermissionCase(_submitted, _removed),
    }


def _removed(caller: Caller, smelt: Any) -> bool:
    response = caller.http.request("DELETE", "/storage/v1/object/smelt-audio", json={"prefixes": [_path(smelt)]})
    return response.is_success and bool(response.json())


def _named_another_user(caller: Caller, accounts: Any) -> bool:
    user_id = accounts.other_id if caller is accounts.owner else accounts.owner_id
    response = caller.rpc("create_smelt", files=FILES, user_id=user_id)
    if response.is_success:
        accounts.worker.call("delete_smelt", smelt_id=response.json()["id"])
    return response.is_success


PERMISSION_CASES: Final[dict[str, PermissionCase]] = {
    "call create_smelt": _call("create_smelt", files=lambda _: FILES),
    "name another user in create_smelt": PermissionCase(lambda accounts: accounts, _named_another_user),
    "call create_smelt_batch": _call("create_smelt_batch"),
    "call get_smelt_models": _call("get_smelt_models"),
    **{f"call {name}": attempt for name, attempt in _client_functions("owner").items()},
    **{f"call {name}": attempt for name, attempt in _worker_functions().items()},
    **{f"call {name}": attempt for name, attempt in _webhook_functions().items()},
    **{f"for an ownerless smelt: {name}": attempt for name, attempt in _client_functions("visitor").items()},
    **{
        name: attempt
        for table in (*OWNED_ROWS, "smelt_batches", "smelt_prompts", "smelt_webhooks")
        for name, attempt in _table_cases(table).items()
    },
    "mark as seen and read smelt_notifications": PermissionCase(_rows("smelt_notifications"), _marked),
    **{f"audio: {name}": attempt for name, attempt in _object_cases().items()},
}


@pytest.mark.parametrize("what", PERMISSION_CASES)
def test_permissions_match_the_documented_table_for_every_caller(accounts: Accounts, what: str) -> None:
    done = {}
    for name in CALLERS:
        subject = PERMISSION_CASES[what].given(accounts)
        done[name] = PERMISSION_CASES[what].attempt(accounts.by_name[name], subject)
        accounts.clear()
    assert done == TABLE[what]


CHANNELS: Final[dict[str, Callable[[Accounts], str]]] = {
    "smelt:<id>": lambda accounts: f"smelt:{accounts.make()['id']}",
    "smelt:<id> of an ownerless smelt": lambda accounts: f"smelt:{accounts.make('visitor')['id']}",
    "smelt-batch:<id>": lambda accounts: f"smelt-batch:{accounts.owner.call('create_smelt_batch')['id']}",
    "smelt-notifications:<user id>": lambda accounts: f"smelt-notifications:{accounts.owner_id}",
    "smelt-feed:<user id>": lambda accounts: f"smelt-feed:{accounts.owner_id}",
    "smelt-workers": lambda _: "smelt-workers",
}


@dataclass(frozen=True)
class Channel:
    """A channel, with a worker's socket that receives all its events, and the callers that could join."""

    topic: str
    witness: Socket
    sockets: dict[str, Socket]
    joined: dict[str, bool]


@pytest.fixture(scope="module")
def channels(accounts: Accounts) -> Iterator[dict[str, Channel]]:
    """Joins of all channels by all callers, in parallel: a rejected join takes five seconds."""
    with ExitStack() as sockets, ThreadPoolExecutor(len(CHANNELS) * len(CALLERS)) as threads:

        def opened(caller: Caller) -> Socket:
            return sockets.enter_context(connected(accounts.api_url, caller.key))

        topics = {name: make(accounts) for name, make in CHANNELS.items()}
        found: dict[str, Channel] = {}
        for name, topic in topics.items():
            callers = {who: opened(caller) for who, caller in accounts.by_name.items()}
            found[name] = Channel(topic, opened(accounts.worker), callers, {})
        joins = {
            (name, who): threads.submit(socket.join, channel.topic, accounts.by_name[who].token)
            for name, channel in found.items()
            for who, socket in channel.sockets.items()
        }
        for (name, who), joining in joins.items():
            found[name].joined[who] = joining.result()
        for channel in found.values():
            assert channel.witness.join(channel.topic)
        yield found
    accounts.clear()


@pytest.mark.parametrize("name", CHANNELS)
def test_channel_permissions_match_the_documented_table(
    accounts: Accounts, channels: dict[str, Channel], name: str
) -> None:
    channel = channels[name]
    assert channel.joined == TABLE[f"listen on {name}"]
    carried = {}
    for who, caller in accounts.by_name.items():
        if channel.joined[who]:
            channel.sockets[who].broadcast(channel.topic, who)
        caller.broadcast(channel.topic, who)
        # When this event arrives, all earlier ones have been delivered or dropped.
        accounts.worker.broadcast(channel.topic, f"after {who}")
        carried[who] = who in channel.witness.events_until(channel.topic, f"after {who}")
    assert carried == TABLE[f"broadcast on {name}"]


def _feed_of(accounts: Accounts, who: str) -> str:
    """Return a private channel that this caller may join."""
    if who == "visitor":
        return f"smelt:{accounts.make('visitor')['id']}"
    return f"smelt-feed:{accounts.other_id if who == 'another user' else accounts.owner_id}"


def _condition_met(value: object) -> str:
    """Return a filter condition that this column value meets."""
    match value:
        case None:
            return "is.null"
        case bool() | list() | dict():
            return "not.is.null"
        case _:
            return f"eq.{value}"


def _learned(accounts: Accounts, who: str, table: str) -> set[str]:
    """Return the columns of a deleted row that a caller learns, from the change and from matching filters."""
    smelt = accounts.make_completed()
    query = {OWNED_ROWS[table]: f"eq.{smelt['id']}"}
    [row] = accounts.worker.http.get(f"/rest/v1/{table}", params=query).json()
    unfiltered = {"event": "DELETE", "schema": "public", "table": table}
    filters = [f"{column}={_condition_met(value)}" for column, value in row.items()]
    bindings = [unfiltered, *({**unfiltered, "filter": condition} for condition in filters)]
    caller = accounts.by_name[who]
    with connected(accounts.api_url, caller.key) as socket:
        ids = socket.subscribe(_feed_of(accounts, who), caller.token, bindings)
        if ids is None:
            return set()
        accounts.owner.call("delete_smelt", smelt_id=smelt["id"])
        change = socket.next_change()
    met = {column for column, binding_id in zip(row, ids[1:], strict=True) if binding_id in change["ids"]}
    assert change["data"]["old_record"].items() <= row.items()
    return met | change["data"]["old_record"].keys()


DELETED: Final = {
    f"{what} of a deleted row of {table}"
    for what in ("learn the id", "learn any other column")
    for table in ("smelts", "smelt_files")
}


@pytest.mark.parametrize("table", ["smelts", "smelt_files"])
def test_deleted_rows_show_only_their_id_with_any_filter(accounts: Accounts, table: str) -> None:
    learned = {who: _learned(accounts, who, table) for who in CALLERS}
    accounts.clear()
    the_id = {who: "id" in columns for who, columns in learned.items()}
    more = {who: columns > {"id"} for who, columns in learned.items()}
    assert the_id == TABLE[f"learn the id of a deleted row of {table}"], learned
    assert more == TABLE[f"learn any other column of a deleted row of {table}"], learned


def test_permissions_table_names_every_served_function_and_table(accounts: Accounts) -> None:
    """A function or table of a new migration fails this test until the table lists its permissions."""
    served = {path for caller in accounts.by_name.values() for path in caller.http.get("/rest/v1/").json()["paths"]}
    functions = {what.removeprefix("call ") for what in TABLE if what.startswith("call ")}
    tables = {what.removeprefix("read ") for what in TABLE if what.startswith("read ")}
    assert served == {"/"} | {f"/rpc/{name}" for name in functions} | {f"/{name}" for name in tables}


def test_permissions_table_entries_are_all_tested() -> None:
    channels = {f"{verb} {channel}" for verb in ("listen on", "broadcast on") for channel in CHANNELS}
    assert set(TABLE) == PERMISSION_CASES.keys() | channels | DELETED


def test_permissions_table_has_a_channel_of_every_prefix() -> None:
    listed = {name.removeprefix("listen on ").partition(":")[0] for name in TABLE if name.startswith("listen on ")}
    named = (smelt_channel, batch_channel, notifications_channel, feed_channel)
    assert listed == {channel("x").partition(":")[0] for channel in named} | {WORKERS_CHANNEL}
