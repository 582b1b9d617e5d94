"""The stream of a transcript as it grows, with the events of OpenAI's audio API."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from uuid import UUID

from smelt.contract.events import Segment
from smelt.errors import SmeltError, Unavailable
from smelt.gateway.callers import Caller
from smelt.gateway.errors import ErrorBody, response_to
from smelt.gateway.openai.errors import openai_error
from smelt.gateway.openai.transcripts import DeltaEvent, DoneEvent, SegmentEvent, failure, text_after, text_of
from smelt.gateway.streams import frames
from smelt.gateway.streams.hub import Hub, Source
from smelt.gateway.streams.smelts import MAX_SEQ
from smelt.gateway.streams.stream import Stream
from smelt.subscriber.client import Client
from smelt.subscriber.updates import Completed, Ending, Failed, Segments


class TranscriptSource(Source):
    """The segments of a smelt with one recording, in order, and its end."""

    def __init__(self, smelt_id: UUID) -> None:
        super().__init__()
        self.segments: list[Segment] = []
        self.end: Ending | None = None
        self._smelt_id = smelt_id

    async def follow(self, client: Client) -> None:
        """Collect the segments, until the smelt has ended."""
        async with aclosing(client.watch(self._smelt_id)) as updates:
            async for update in updates:
                if isinstance(update, Segments):
                    self.segments.extend(update.segments)
                elif isinstance(update, Completed | Failed):
                    self.end = update
                self.wake()


class TranscriptStream(Stream):
    """The transcript of a smelt for one reader, from its beginning.

    Args:
        hub: Shares the watch.
        caller: Who reads; the smelt is one of the caller's.
        smelt_id: The smelt.
        has_segments: Also send each segment with its times.
    """

    def __init__(self, hub: Hub, caller: Caller, smelt_id: UUID, *, has_segments: bool) -> None:
        super().__init__(hub, caller)
        self._smelt_id = smelt_id
        self._has_segments = has_segments

    async def authorize(self) -> bool:
        """Check that the caller may still read the smelt."""
        await self.caller.calls.get_smelt(self._smelt_id, after_seq=MAX_SEQ)
        return True

    def opening(self) -> bytes:
        """Return nothing: the first event is that of the first segment."""
        return b""

    def closing(self) -> bytes:
        """Return an error: a reader cannot resume, but its repeated request joins the smelt."""
        return self.error(Unavailable("The gateway stops; repeat the request to go on."))

    def error(self, reason: SmeltError) -> bytes:
        """Return the event that makes OpenAI's clients raise an error."""
        response = response_to(reason)
        return _error(ErrorBody.model_validate_json(bytes(response.body)), response.status_code)

    async def frames(self) -> AsyncGenerator[bytes | None, None]:
        """Yield the text of new segments, and at the end the whole text, or an error if the smelt has failed."""
        count = 0
        subject = ("transcript", self._smelt_id)
        while True:
            with self.hub.joined(
                self.caller, subject, self.changed, lambda: TranscriptSource(self._smelt_id)
            ) as source:
                while True:
                    end, is_closed = source.end, source.is_closed
                    new = source.segments[count:]
                    if new or not (end or is_closed):
                        yield self._frame(count, new)
                        count += len(new)
                    elif end is not None:
                        yield _end(end, source.segments)
                        return
                    else:
                        break
            async with aclosing(self.rejoin()) as waiting:
                async for _ in waiting:
                    yield None

    def _frame(self, count: int, new: Iterable[Segment]) -> bytes | None:
        """Return the events of the segments after the first `count` ones; None without any."""
        frame = b""
        for number, segment in enumerate(new, start=count):
            frame += _event(DeltaEvent(delta=text_after(number, segment)))
            if self._has_segments:
                frame += _event(SegmentEvent.of(segment))
        return frame or None


def _end(end: Ending, segments: Iterable[Segment]) -> bytes:
    if isinstance(end, Completed):
        return _event(DoneEvent(text=text_of(segments)))
    problem = failure(end.error_code, end.error_message)
    return _error(ErrorBody(error=problem.detail, code=problem.code), problem.status_code, problem.parameter)


def _event(event: DeltaEvent | SegmentEvent | DoneEvent) -> bytes:
    return frames.event(None, event.model_dump_json())


def _error(body: ErrorBody, status: int, parameter: str | None = None) -> bytes:
    return frames.event("error", openai_error(body, status, parameter).model_dump_json())
