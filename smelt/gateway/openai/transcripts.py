"""Transcripts in the response formats of OpenAI's audio API. Pure."""

from collections.abc import Iterable
from typing import Final, Literal, Self

from fastapi import Response
from fastapi.responses import JSONResponse

from smelt.contract.events import Model, Segment
from smelt.contract.state import FileSegment, FileState, Snapshot
from smelt.contract.vocabulary import Task
from smelt.gateway.downloads import MEDIA_TYPES
from smelt.gateway.openai.errors import NO_RETRY, OpenAIProblem
from smelt.gateway.openai.parameters import Parameters
from smelt.transcripts.captions import CaptionLayout
from smelt.transcripts.formats import format_transcript

_INVALID_FILE: Final = frozenset(
    {"file_too_large", "invalid_format", "duration_exceeded", "corrupted_file", "decoding_failed"}
)
_ENGLISH: Final = "en"


class Usage(Model):
    """The duration of the recording in seconds."""

    type: Literal["duration"] = "duration"
    seconds: float


class Transcription(Model):
    """The format `json`."""

    text: str
    usage: Usage


class TranscribedSegment(Model):
    """A segment; times are in seconds. OpenAI's values of its decoder, such as `avg_logprob`, are not known here."""

    id: int
    start: float
    end: float
    text: str


class TranscribedWord(Model):
    """A word; times are in seconds."""

    word: str
    start: float
    end: float


class VerboseTranscription(Transcription):
    """The format `verbose_json`; `language` is the code of the language of the text, `duration` is in seconds."""

    task: Task
    language: str | None
    duration: float
    segments: tuple[TranscribedSegment, ...] | None = None
    words: tuple[TranscribedWord, ...] | None = None


class DiarizedTranscription(Transcription):
    """The format `diarized_json`; `duration` is in seconds."""

    task: Task
    duration: float
    segments: tuple["SegmentEvent", ...]


class DeltaEvent(Model):
    """The text that a segment adds; all of them joined are the text of the transcript."""

    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str


class SegmentEvent(Model):
    """A segment; times are in seconds. `speaker` is empty if the speaker is unknown."""

    type: Literal["transcript.text.segment"] = "transcript.text.segment"
    id: str
    start: float
    end: float
    text: str
    speaker: str

    @classmethod
    def of(cls, segment: Segment) -> Self:
        """Return the event of a segment."""
        return cls(
            id=f"seg_{segment.index:03}",
            start=segment.start,
            end=segment.end,
            text=segment.text.strip(),
            speaker=segment.speaker or "",
        )


class DoneEvent(Model):
    """The end of a stream, with the whole text."""

    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str


def transcript_response(snapshot: Snapshot, parameters: Parameters, layout: CaptionLayout) -> Response:
    """Return the response to a request whose smelt has ended; raise `OpenAIProblem` if it has failed.

    Args:
        snapshot: The smelt with its words, as far as they are known.
        parameters: Those of the request.
        layout: The layout of captions.
    """
    if snapshot.status == "failed":
        raise failure(snapshot.error_code or "", snapshot.error_message or "")
    [file] = snapshot.files
    match parameters.response_format:
        case "json":
            body: Transcription = Transcription(text=text_of(snapshot.segments), usage=_usage(file))
        case "verbose_json":
            body = _verbose(file, snapshot.segments, parameters)
        case "diarized_json":
            body = DiarizedTranscription(
                task=parameters.options.task,
                duration=file.duration_seconds or 0.0,
                text=text_of(snapshot.segments),
                segments=tuple(SegmentEvent.of(segment) for segment in snapshot.segments),
                usage=_usage(file),
            )
        case "text":
            return Response(f"{text_of(snapshot.segments)}\n", media_type=MEDIA_TYPES["txt"])
        case "srt" | "vtt" as chosen:
            return Response(format_transcript(chosen, snapshot.segments, file, layout), media_type=MEDIA_TYPES[chosen])
    return JSONResponse(body.model_dump(exclude_none=True))


def text_of(segments: Iterable[Segment]) -> str:
    """Return the text of segments; that of more segments begins with it."""
    return "".join(text_after(n, segment) for n, segment in enumerate(segments))


def text_after(number: int, segment: Segment) -> str:
    """Return the text that a segment adds to the text of the `number` segments before it."""
    text = segment.text.strip()
    return f" {text}" if number else text


def failure(code: str, sentence: str) -> OpenAIProblem:
    """Return the error for a smelt that has failed. A request that is repeated starts a new smelt."""
    if code in _INVALID_FILE:
        return OpenAIProblem(400, code, sentence, "file")
    if code == "transcription_failed":  # Also if the model can't honor the language or the task.
        return OpenAIProblem(400, code, sentence)
    return OpenAIProblem(409 if code == "cancelled" else 500, code, sentence, headers=NO_RETRY)


def _verbose(file: FileState, segments: tuple[FileSegment, ...], parameters: Parameters) -> VerboseTranscription:
    is_translation = parameters.options.task == "translate"
    return VerboseTranscription(
        task=parameters.options.task,
        language=_ENGLISH if is_translation else file.language,
        duration=file.duration_seconds or 0.0,
        text=text_of(segments),
        segments=tuple(
            TranscribedSegment(id=segment.index, start=segment.start, end=segment.end, text=segment.text)
            for segment in segments
        )
        if parameters.has_segments
        else None,
        words=tuple(_words(segments)) if parameters.has_words else None,
        usage=_usage(file),
    )


def _words(segments: Iterable[FileSegment]) -> Iterable[TranscribedWord]:
    for segment in segments:
        if segment.words is None:
            sentence = "The worker has not saved the times of words."
            raise OpenAIProblem(400, "unsupported_value", sentence, "timestamp_granularities")
        for word in segment.words:
            yield TranscribedWord(word=word.word.strip(), start=word.start, end=word.end)


def _usage(file: FileState) -> Usage:
    return Usage(seconds=file.duration_seconds or 0.0)
