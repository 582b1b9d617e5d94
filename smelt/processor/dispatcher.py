"""Dispatching: an external service transcribes the smelts of this worker, and reports to the gateway itself."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import httpx

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.dispatch import CallbackTokens, DispatchedFile, DispatchedJob
from smelt.contract.events import NewSegment, Segment
from smelt.contract.options import SmeltOptions
from smelt.pickling import PicklableError
from smelt.processor.errors import NotAccepted
from smelt.processor.options import DispatchOptions
from smelt.processor.speech.breaker import CircuitBreaker
from smelt.processor.state import FileWork, SmeltState

if TYPE_CHECKING:
    from smelt.backend.audio import AudioStore

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 20.0
_MAX_RETRY_AFTER_S: Final = 300.0
# The smelt is due this much earlier than the next claim of this worker, so that another worker claims it first.
_HEAD_START_S: Final = 1.0
_CALLBACK_PATH: Final = "/api/callbacks/progress"


class ReadyToDispatch(PicklableError):
    """All recordings of a smelt are ready for the external service."""

    def __init__(self, job: DispatchedJob) -> None:
        super().__init__()  # Without the job, whose links and token must not be logged.
        self.job = job


class Dispatcher:
    """Posts smelts to an external service, instead of a model.

    After a smelt that was not accepted, the worker claims nothing for a time that doubles with each further one;
    `on_suspended` is called when that begins and when it ends.
    """

    def __init__(
        self, options: DispatchOptions, on_suspended: Callable[[], None], breaker: CircuitBreaker | None = None
    ) -> None:
        self._options = options
        self._on_suspended = on_suspended
        self._breaker = breaker or CircuitBreaker()
        self._resuming: asyncio.TimerHandle | None = None
        headers = {} if options.token is None else {"Authorization": f"Bearer {options.token}"}
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_S, headers=headers)

    @property
    def lease_s(self) -> int:
        """Seconds in which the service has to call back."""
        return self._options.lease_s

    @property
    def names(self) -> tuple[str, ...]:
        """The names of models that a smelt may request."""
        return self._options.models

    @property
    def is_suspended(self) -> bool:
        """True while nothing is claimed, since the service accepted nothing."""
        return self._breaker.state == "open"

    def issue_of(self, requested: SmeltOptions) -> str | None:
        """Return None: the service decides which options it can honor."""
        return None

    async def wait_usable(self, *, while_suspended: bool = True) -> None:
        """Return at once: nothing is loaded."""

    async def run_until_load_fails(self) -> None:
        """Wait forever."""
        await asyncio.Event().wait()

    async def job(self, state: SmeltState, audio: "AudioStore", calls: WorkerRpc) -> DispatchedJob:
        """Return the job for the recordings of a smelt that are not transcribed."""
        claim, files = state.claim, [f for f in state.live_files if not f.transcribed]
        tokens = CallbackTokens(self._options.signing_keys)
        token, content = tokens.issue(claim.id, claim.attempt, self.lease_s, time.time())
        saved = [(file, await calls.load_segments(claim.id, file.id)) for file in files if file.claimed.segment_count]
        return DispatchedJob(
            job_id=claim.id,
            files=tuple([await _dispatched(file, state.options, audio) for file in files]),
            callback_url=self._options.gateway_url.rstrip("/") + _CALLBACK_PATH,
            callback_token=token,
            expires_at=datetime.fromtimestamp(content.expires_at, UTC),
            resume=tuple(
                NewSegment(file_id=file.id, **segments[-1].model_dump(include=set(Segment.model_fields)))
                for file, segments in saved
                if segments
            ),
        )

    async def post(self, job: DispatchedJob) -> None:
        """Post a job to the service; raise `NotAccepted` unless the response is 2xx."""
        try:
            response = await self._http.post(
                self._options.url,
                content=job.model_dump_json(),
                headers={"Content-Type": "application/json"},
            )
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise self._failure(f"the external service does not respond: {exc or type(exc).__name__}") from exc
        if not response.is_success:
            raise self._failure(f"the external service responded with {response.status_code}", _retry_after_s(response))
        self._breaker.on_success()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._resuming is not None:
            self._resuming.cancel()
        await self._http.aclose()

    def _failure(self, detail: str, retry_after_s: float = 0.0) -> NotAccepted:
        if self._breaker.state == "closed":
            self._breaker.on_death(None)
        elif self._breaker.state == "probing":
            self._breaker.on_probe_failure()
        delay_s = max(self._breaker.delay_s, retry_after_s)
        if self._resuming is None:
            logger.warning("%s; the next claim is in %.0f s", detail, delay_s)
            self._resuming = asyncio.get_running_loop().call_later(delay_s + _HEAD_START_S, self._resume)
            self._on_suspended()
        return NotAccepted(detail, delay_s)

    def _resume(self) -> None:
        self._resuming = None
        self._breaker.start_probe()
        self._on_suspended()


async def _dispatched(file: FileWork, options: SmeltOptions, audio: "AudioStore") -> DispatchedFile:
    assert file.claimed.object_path is not None
    assert file.duration_s is not None
    return DispatchedFile(
        file_id=file.id,
        filename=file.claimed.filename,
        audio_url=await audio.signed_url(file.claimed.object_path),
        duration=file.duration_s,
        # The service does not keep the audio.
        options=options.model_dump(mode="json", exclude={"keep_audio_h"}),
    )


def _retry_after_s(response: httpx.Response) -> float:
    """Return the delay that a response asks for in seconds; 0 without one."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), _MAX_RETRY_AFTER_S) if value.isdecimal() and value.isascii() else 0.0
