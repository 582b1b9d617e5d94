"""The messages between smelt and an external service that transcribes, and the token of its callbacks. Pure.

A worker posts a `DispatchedJob` to the service; the service posts `Callback`s to the gateway.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from smelt.contract.events import Model, NewSegment, Segment
from smelt.contract.signed_tokens import SignedTokens

MAX_SEGMENTS: Final = 500
"""The number of segments in one callback."""
MAX_TEXT_CHARS: Final = 2000
"""The length of the text of a segment."""
MAX_WORDS: Final = 500
"""The number of words of a segment."""

_PURPOSE: Final = b"callback"

ServiceErrorCode = Literal[
    "invalid_format",
    "duration_exceeded",
    "corrupted_file",
    "decoding_failed",
    "transcription_failed",
    "api_rate_limited",
    "api_quota_exhausted",
    "connection_lost",
    "internal_error",
]
"""The error codes that a service may report."""


class DispatchedFile(Model):
    """A recording to transcribe: a link that expires after an hour, `duration` in seconds, the options of the smelt."""

    file_id: UUID
    filename: str
    audio_url: str
    duration: float
    options: dict[str, Any]


class DispatchedJob(Model):
    """The body of the request to the service.

    The service has to call back before `expires_at`, and continues after the segments of `resume`, the last saved one
    of each file that has any.
    """

    job_id: UUID
    files: tuple[DispatchedFile, ...]
    callback_url: str
    callback_token: str
    expires_at: datetime
    resume: tuple[NewSegment, ...] = ()


def _without_controls(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("control characters are not allowed")
    return text


_Text = Annotated[str, AfterValidator(_without_controls)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Body(Model):
    """A part of a callback; unknown keys are rejected."""

    model_config = ConfigDict(extra="forbid")


class CallbackWord(_Body):
    """A word of a segment, as in `smelt.contract.state.Word`."""

    word: Annotated[_Text, StringConstraints(min_length=1, max_length=200)]
    start: _Seconds
    end: _Seconds
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0


class CallbackSegment(Segment):
    """A new segment of the file; `index` counts from 0, times are in seconds from its start."""

    model_config = ConfigDict(extra="forbid")

    index: Annotated[int, Field(ge=0, le=1_000_000)]
    start: _Seconds
    end: _Seconds
    text: Annotated[_Text, StringConstraints(min_length=1, max_length=MAX_TEXT_CHARS)]
    speaker: Annotated[_Text, StringConstraints(min_length=1, max_length=100)] | None = None
    words: Annotated[tuple[CallbackWord, ...], Field(max_length=MAX_WORDS)] | None = None

    @model_validator(mode="after")
    def _has_forward_times(self) -> Self:
        if self.end < self.start:
            raise ValueError("a segment ends before its start")
        times = [(self.start, self.start), *((word.start, word.end) for word in self.words or ())]
        if any(end < start or start > self.end for start, end in times):
            raise ValueError("the times of the words do not fit their segment")
        return self


class CallbackError(_Body):
    """An error of the service: a transient one ends the attempt, any other fails the file, or all without a file.

    The owner of the file reads the sentence of the code; `message` is for the operator.
    """

    code: ServiceErrorCode = "transcription_failed"
    message: Annotated[_Text, StringConstraints(min_length=1, max_length=400)] | None = None
    transient: bool = False


class Callback(_Body):
    """Progress of one file; every field may be absent, and an empty callback only renews the lease.

    Attributes:
        file_id: The file; it may be absent if the smelt has a single one.
        progress: The share of the file that is transcribed, in percent.
        message: Shown to watchers instead of the usual one.
        status: The stage, for readability.
        segments: New segments, with consecutive indexes; those that are saved already may be repeated.
        language: The code of the language of the file.
        done: True if the transcript of the file is complete.
    """

    file_id: UUID | None = None
    progress: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    message: Annotated[_Text, StringConstraints(min_length=1, max_length=200)] | None = None
    status: Literal["transcribing"] | None = None
    segments: Annotated[tuple[CallbackSegment, ...], Field(max_length=MAX_SEGMENTS)] = ()
    language: Annotated[str, StringConstraints(pattern="^[a-z]{2,3}$")] | None = None
    done: bool = False
    error: CallbackError | None = None

    @model_validator(mode="after")
    def _goes_forward(self) -> Self:
        for earlier, later in pairwise(self.segments):
            if later.index != earlier.index + 1:
                raise ValueError(f"segment {later.index} follows segment {earlier.index}")
            if later.start < earlier.start:
                raise ValueError(f"segment {later.index} starts before segment {earlier.index}")
        if self.done and self.error is not None:
            raise ValueError("a file is either done or has an error")
        return self

    def report(self) -> dict[str, Any]:
        """Return the argument `report` of `report_dispatched_smelt`: what the callback contains."""
        report = self.model_dump(mode="json", exclude_none=True, exclude={"status"})
        return {key: value for key, value in report.items() if value is not False and value != []}


class Accepted(Model):
    """The response to a callback: the `seq` of the smelt, and the token of the next callback."""

    status: Literal["accepted"] = "accepted"
    seq: int
    callback_token: str
    expires_at: datetime


@dataclass(frozen=True)
class CallbackToken:
    """The content of a token: it permits callbacks of one attempt, each of which renews its lease of `lease_s` seconds.

    `expires_at` is in seconds since 1970.
    """

    smelt_id: UUID
    attempt: int
    lease_s: int
    expires_at: int

    @property
    def expires(self) -> datetime:
        """The time at which it expires."""
        return datetime.fromtimestamp(self.expires_at, UTC)


class CallbackTokens:
    """Signs tokens of callbacks with the first of some keys, and verifies tokens that any of them has signed."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._signed = SignedTokens(keys, _PURPOSE)

    def issue(self, smelt_id: UUID, attempt: int, lease_s: int, now: float) -> tuple[str, CallbackToken]:
        """Return a token that expires together with the lease, and its content."""
        content = CallbackToken(smelt_id, attempt, lease_s, int(now) + lease_s)
        return self._signed.sign(f"{smelt_id.hex}.{attempt}.{lease_s}.{content.expires_at}"), content

    def verify(self, token: str) -> CallbackToken | None:
        """Return the content of a token, which may have expired; None if none of the keys has signed it."""
        payload = self._signed.verify(token)
        if payload is None:
            return None
        smelt_id, attempt, lease_s, expires_at = payload.split(".")
        return CallbackToken(UUID(smelt_id), int(attempt), int(lease_s), int(expires_at))
