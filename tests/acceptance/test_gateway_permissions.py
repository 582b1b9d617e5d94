"""The gateway's table of permissions: every cell is tried against a running project."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest

from smelt.contract.dispatch import CallbackTokens
from smelt.gateway.tokens import LIFETIME_S, ReadTokens
from tests.acceptance.commands import ROOT
from tests.harness.gateways import SIGNING_KEY, options_for, running_gateway
from tests.harness.stacks import TLS, Stack, running_project, sign_up

CALLERS: Final = (
    "visitor",
    "another user",
    "owner",
    "service",
    "token",
    "token of another",
    "expired",
    "forged",
)


def _table() -> dict[str, dict[str, bool]]:
    """Return the callers allowed for each route of the table."""
    readme = (ROOT / "smelt" / "gateway" / "README.md").read_text()
    section = readme.partition("## Who may do what")[2].partition("\n#")[0]
    named: dict[str, dict[str, bool]] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `"):
            allowed = {caller: cell == "yes" for caller, cell in zip(CALLERS, cells[1:], strict=True)}
            named |= dict.fromkeys(re.findall("`([^`]+)`", cells[0]), allowed)
    return named


TABLE: Final = _table()
BODIES: Final[dict[str, dict[str, Any]]] = {
    "POST /api/smelts": {"text": "Ship it."},
    "POST /api/smelts/states": {"smelts": []},
    "POST /api/smelts/{id}/speakers": {"speaker": "Speaker 1", "name": "Ann"},
    "POST /api/batches": {},
}
CALLBACKS: Final = "POST /api/callbacks/progress"
LEASE_S: Final = 60


@dataclass(frozen=True)
class Subject:
    """The objects of a request, as their owner made them; for a callback, a smelt that was dispatched, and another."""

    smelt_id: str
    batch_id: str
    notification_id: str
    file_id: str = ""
    attempt: int = 0
    other: "Subject | None" = None


class World:
    """A gateway, its callers, and functions that make what they act on."""

    def __init__(self, stack: Stack, gateway: str) -> None:
        self._owner = sign_up(stack)
        self._subjects: dict[str, Subject] = {}
        tokens = {
            "another user": sign_up(stack).access_token,
            "owner": self._owner.access_token,
            "service": stack.service_role_key,
        }
        self._http = {
            name: httpx.Client(
                base_url=gateway,
                timeout=60,
                verify=TLS,
                headers={"Authorization": f"Bearer {tokens[name]}"} if name in tokens else {},
            )
            for name in CALLERS
        }
        self._project = httpx.Client(
            base_url=f"{stack.api_url}/rest/v1/rpc",
            headers={"apikey": stack.service_role_key, "Authorization": f"Bearer {stack.service_role_key}"},
            timeout=60,
            verify=TLS,
        )

    def close(self) -> None:
        for http in (*self._http.values(), self._project):
            http.close()

    def allowed(self, route: str) -> dict[str, bool]:
        """Try a route as every caller; reads share a subject, and so do writes until one of them succeeds."""
        allowed: dict[str, bool] = {}
        for caller in CALLERS:
            name = "reads" if route.startswith("GET") else route
            if name not in self._subjects:
                self._subjects[name] = self._make(route)
            allowed[caller] = self._may(caller, route, self._subjects[name])
            if allowed[caller] and name == route:
                del self._subjects[name]
        return allowed

    def _make(self, route: str) -> Subject:
        """Make what a route needs: a smelt that was completed, cancelled, or announced."""
        if route == CALLBACKS:
            return replace(self._dispatched(), other=self._dispatched())
        owner = self._http["owner"]
        batch_id = owner.post("/api/batches", json={}).json()["id"]
        smelt_id = self._smelt(route)
        notifications = owner.get("/api/notifications", params={"unread": True}).json()["notifications"]
        notification_id = notifications[0]["id"] if notifications else str(uuid4())
        return Subject(smelt_id, batch_id, notification_id)

    def _smelt(self, route: str) -> str:
        owner = self._http["owner"]
        if route.endswith("/submit"):
            new = {"text": "Ship it.", "submit": False}
            return str(owner.post("/api/smelts", json=new).json()["id"])
        smelt_id = str(owner.post("/api/smelts", json={"text": "Ship it."}).json()["id"])
        if route.endswith("/retry"):
            owner.post(f"/api/smelts/{smelt_id}/cancel").raise_for_status()
        elif route.endswith("/speakers"):
            self._report(self._claim(smelt_id))
        elif route.startswith("GET") or "notifications" in route:
            self._complete(smelt_id)
        return smelt_id

    def _dispatched(self) -> Subject:
        created = self._http["owner"].post("/api/smelts", files={"file": ("a.wav", b"recording")}, data={"prompt": ""})
        smelt_id = created.json()["id"]
        claim = self._claim(smelt_id)
        dispatch = {"smelt_id": smelt_id, "attempt": claim["attempt"], "lease_s": LEASE_S}
        self._project.post("/dispatch_smelt", json=dispatch).raise_for_status()
        return Subject(smelt_id, "", "", claim["files"][0]["id"], claim["attempt"])

    def _claim(self, smelt_id: str) -> dict[str, Any]:
        request = {"worker_id": str(uuid4()), "max_count": 100}
        claims: list[dict[str, Any]] = self._project.post("/claim_smelts", json=request).json()["smelts"]
        [claim] = [claim for claim in claims if claim["id"] == smelt_id]
        return claim

    def _complete(self, smelt_id: str) -> None:
        claim = self._claim(smelt_id)
        self._report(claim)
        results = [{"file_id": claim["files"][0]["id"], "filename": "a", "content": "b"}]
        self._call("complete_smelt", claim, results=results)

    def _report(self, claim: dict[str, Any]) -> None:
        """Report a finished transcript of one speaker."""
        file_id = claim["files"][0]["id"]
        segment = {"file_id": file_id, "index": 0, "start": 0, "end": 1, "text": "hello", "speaker": "Speaker 1"}
        files = [{"id": file_id, "transcribed": True}]
        self._call("report_smelt_progress", claim, status="synthesizing", segments=[segment], files=files)

    def _call(self, function: str, claim: dict[str, Any], **arguments: object) -> None:
        which = {"smelt_id": claim["id"], "attempt": claim["attempt"]}
        self._project.post(f"/{function}", json={**which, **arguments}).raise_for_status()

    def _may(self, caller: str, route: str, subject: Subject) -> bool:
        """Return True if a request succeeds, and for marks, if it changes something."""
        method, path = route.split(" ")
        of_batch = path.startswith("/api/batches")
        path = path.replace("{id}", subject.batch_id if of_batch else subject.smelt_id)
        body = {"ids": [subject.notification_id]} if path.startswith("/api/notifications/") else BODIES.get(route)
        body = {"file_id": subject.file_id, "progress": 1} if route == CALLBACKS else body
        body = body if method == "POST" else None
        if path.startswith("/v1/audio/"):
            return self._may_transcribe(caller, path, _query(caller, subject))
        query = {} if route == CALLBACKS else _query(caller, subject)
        headers = _callback_header(caller, subject) if route == CALLBACKS else {}
        with self._http[caller].stream(method, path, params=query, headers=headers, json=body) as response:
            if not path.endswith("/events") or response.is_error:  # A stream need not end.
                response.read()
        assert response.status_code < 500, response.text
        if response.is_error:
            assert response.status_code in {401, 403, 404}, response.text
            assert set(response.json()) == ({"error"} if path.startswith("/v1/") else {"error", "code"})
        return response.is_success and (body is None or response.json().get("marked") != 0)

    def _may_transcribe(self, caller: str, path: str, query: dict[str, str]) -> bool:
        """Return True if a request makes a smelt, for whose end it then waits in vain."""
        form = {"files": {"file": ("a.wav", b"RIFF")}, "data": {"model": "whisper-1"}}
        response = self._http[caller].post(path, params=query, **form)
        assert response.status_code in {401, 403, 504}, response.text
        assert set(response.json()) == {"error"}
        return "x-smelt-id" in response.headers


def _query(caller: str, subject: Subject) -> dict[str, str]:
    smelt_id, now = UUID(subject.smelt_id), time.time()
    make: dict[str, Callable[[], tuple[str, object]]] = {
        "token": lambda: ReadTokens([SIGNING_KEY]).issue(smelt_id, now),
        "token of another": lambda: ReadTokens([SIGNING_KEY]).issue(uuid4(), now),
        "expired": lambda: ReadTokens([SIGNING_KEY]).issue(smelt_id, now - LIFETIME_S - 1),
        "forged": lambda: ReadTokens([SIGNING_KEY[::-1]]).issue(smelt_id, now),
    }
    return {"token": make[caller]()[0]} if caller in make else {}


def _callback_header(caller: str, subject: Subject) -> dict[str, str]:
    def token(of: Subject, key: str = SIGNING_KEY, age_s: float = 0) -> str:
        return CallbackTokens([key]).issue(UUID(of.smelt_id), of.attempt, LEASE_S, time.time() - age_s)[0]

    assert subject.other is not None
    made = {
        "token": token(subject),
        "token of another": token(subject.other),
        "expired": token(subject, age_s=LEASE_S + 1),
        "forged": token(subject, key=SIGNING_KEY[::-1]),
    }
    return {"X-Callback-Token": made[caller]} if caller in made else {}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A project without a worker, whose role the tests take."""
    with running_project() as stack, running_gateway(options_for(stack, openai_wait_s=0.2)) as gateway:
        made = World(stack, gateway.url)
        yield made
        made.close()


@pytest.mark.parametrize("route", TABLE)
def test_gateway_permissions_match_the_documented_table_for_every_caller(world: World, route: str) -> None:
    assert world.allowed(route) == TABLE[route]


def test_gateway_permissions_table_has_every_route_of_the_openapi_document(world: World) -> None:
    paths = world._http["visitor"].get("/openapi.json").json()["paths"]
    documented = {
        re.sub(r"\{(smelt|batch)_id\}", "{id}", f"{method.upper()} {path}") for path in paths for method in paths[path]
    }
    in_table = {re.sub(r"\.(txt|srt|vtt|json)$", ".{transcript_format}", route) for route in TABLE}
    assert documented <= in_table | {"GET /openapi.json"}
