"""Claims as the database returns them, and fakes of a project."""

from typing import Any
from uuid import UUID, uuid4

from smelt.backend.realtime import Broadcast, OnEvent
from smelt.contract.work import Claim


def file_row(**more: Any) -> dict[str, Any]:
    """Return a file of a claim."""
    return {
        "id": str(uuid4()),
        "position": 0,
        "filename": "a.mp3",
        "input_type": "audio",
        "size_bytes": 1000,
        "object_path": "a/b/a.mp3",
        "object_version": None,
        "status": "pending",
        "stage": "pending",
        "progress": 0.0,
        "duration_seconds": None,
        "language": None,
        "transcribed": False,
        "segment_count": 0,
        "checkpoint": None,
        **more,
    }


def claim(*files: dict[str, Any], **more: Any) -> Claim:
    """Return a claim of a smelt with these files."""
    row = {
        "id": str(uuid4()),
        "user_id": None,
        "batch_id": None,
        "run": 1,
        "attempt": 1,
        "seq": 3,
        "status": "pending",
        "percentage": 0.0,
        "mode": "separate",
        "text_input": None,
        "default_prompt_names": ["summarize"],
        "user_prompt": None,
        "failure_count": 0,
        "lease_expires_at": "2026-01-01T00:00:00Z",
        "max_file_bytes": 10_000_000,
        "max_duration_s": 3600.0,
        "files": list(files) or [file_row()],
    }
    return Claim.model_validate({**row, **more})


def progress_event(smelt_id: UUID, status: str = "transcribing", percentage: float = 30.0) -> dict[str, Any]:
    """Return the payload of a progress event."""
    return {
        "smelt_id": str(smelt_id),
        "event_id": str(uuid4()),
        "seq": 5,
        "run": 1,
        "attempt": 1,
        "eta_seconds": 12.5,
        "emitted_at": "2026-01-01T00:00:00Z",
        "status": status,
        "progress": {"percentage": percentage, "stage": status, "message": "Transcribing audio..."},
        "files": [],
        "segments": [],
        "outputs": [],
    }


class FakeRpc:
    """Responds to calls by a function, and records them."""

    def __init__(self, responder: Any) -> None:
        self._responder = responder
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def call(self, function: str, /, **arguments: Any) -> Any:
        self.calls.append((function, arguments))
        return self._responder(function, arguments)

    def named(self, function: str) -> list[dict[str, Any]]:
        """Return the arguments of all calls of one function."""
        return [arguments for name, arguments in self.calls if name == function]


class FakeRealtime:
    """Records posts, and delivers events of the test to every joined channel."""

    def __init__(self) -> None:
        self.listeners: list[OnEvent] = []
        self.posted: list[tuple[str, str, dict[str, Any]]] = []
        self.error: Exception | None = None

    async def post(self, topic: str, event: str, payload: dict[str, Any]) -> None:
        if self.error is not None:
            raise self.error
        self.posted.append((topic, event, payload))

    async def join(self, topic: str, on_event: OnEvent) -> "FakeChannel":
        self.listeners.append(on_event)
        return FakeChannel(topic)

    def deliver(self, event: str, payload: object = None) -> None:
        for listener in self.listeners:
            listener(Broadcast(event, payload))


class FakeChannel:
    """A channel that acknowledges if it is configured to."""

    def __init__(self, topic: str = "smelt:x", *, joined: bool = True, acknowledges: bool = True) -> None:
        self.topic = topic
        self.joined = joined
        self.acknowledges = acknowledges
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def wait_joined(self, _timeout_s: float) -> bool:
        return self.joined

    async def send(self, event: str, payload: dict[str, Any]) -> bool:
        if self.acknowledges:
            self.sent.append((event, payload))
        return self.acknowledges


class FakeProject:
    """A project without a network."""

    def __init__(self, rpc: FakeRpc) -> None:
        self.rpc = rpc
        self.realtime = FakeRealtime()
