"""The parameters of OpenAI's audio API, from the fields of a form. Pure."""

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from smelt.contract.events import Model
from smelt.contract.options import SmeltOptions, Term
from smelt.contract.vocabulary import MAX_VOCABULARY, Task
from smelt.gateway.openai.errors import OpenAIProblem

WHISPER: Final = "whisper-1"
"""The name that stands for the model of any worker."""

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"]
Granularity = Literal["word", "segment"]

_STREAMED_FORMATS: Final = ("json", "text", "verbose_json")
_LISTS: Final = ("keywords", "timestamp_granularities")
_MAX_TERM_CHARS: Final = 100

F = TypeVar("F", bound="AudioForm")


def _zero(temperature: float) -> float:
    if temperature != 0:
        raise PydanticCustomError("temperature", "must be 0: the text is the most probable one, not a random sample")
    return temperature


class AudioForm(Model):
    """The fields of every form, beside its `file`. Other fields are rejected."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(description="`whisper-1` for that of any worker, or the name of a worker's model.")]
    prompt: Annotated[str, Field(description="Words and names to expect, as they are spelled.")] = ""
    temperature: Annotated[float, AfterValidator(_zero), Field(description="0, the only one that is possible.")] = 0


class TranslationForm(AudioForm):
    """The form of a translation, beside its `file`."""

    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = "json"


class TranscriptionForm(AudioForm):
    """The form of a transcription, beside its `file`. Other fields of OpenAI's API are rejected as well."""

    response_format: ResponseFormat = "json"
    language: Annotated[str | None, Field(description="The code of the language that is spoken, such as `de`.")] = None
    keywords: Annotated[tuple[Term, ...], Field(description="Words and names to expect, besides `prompt`.")] = ()
    timestamp_granularities: Annotated[tuple[Granularity, ...], Field(description="For `verbose_json` alone.")] = ()
    stream: bool = False
    chunking_strategy: Literal["auto"] | None = None


@dataclass(frozen=True)
class Parameters:
    """The parameters of a request.

    Attributes:
        options: The options of its smelt.
        response_format: The format of the transcript.
        has_segments: Include segments in `verbose_json`.
        has_words: Include the times of words in `verbose_json`.
        is_stream: Send the transcript as it grows.
    """

    options: SmeltOptions
    response_format: ResponseFormat
    has_segments: bool = True
    has_words: bool = False
    is_stream: bool = False


def parse_transcription(fields: Iterable[tuple[str, str]]) -> Parameters:
    """Return the parameters of a transcription; raise `OpenAIProblem` for those that are invalid or not supported."""
    form = _parsed(TranscriptionForm, fields)
    granularities = form.timestamp_granularities
    if granularities and form.response_format != "verbose_json":
        raise _invalid("timestamp_granularities", "needs the response_format verbose_json")
    if form.stream and form.response_format not in _STREAMED_FORMATS:
        raise _invalid("response_format", f"must be one of {', '.join(_STREAMED_FORMATS)} with stream")
    if form.stream and "word" in granularities:
        raise _invalid("timestamp_granularities", "must not have word with stream")
    return Parameters(
        _options(
            form,
            "transcribe",
            form.language,
            form.keywords,
            has_words="word" in granularities,
            has_speakers=form.response_format == "diarized_json",
        ),
        form.response_format,
        has_segments="segment" in granularities or not granularities,
        has_words="word" in granularities,
        is_stream=form.stream,
    )


def parse_translation(fields: Iterable[tuple[str, str]]) -> Parameters:
    """Return the parameters of a translation; raise `OpenAIProblem` for those that are invalid or not supported."""
    form = _parsed(TranslationForm, fields)
    return Parameters(_options(form, "translate"), form.response_format)


def vocabulary_of(prompt: str) -> tuple[str, ...]:
    """Return the words and names of a prompt: its parts between commas and lines, of at most 100 characters each."""
    parts = (" ".join(part.split()) for part in re.split(r"[,;\n]", prompt))
    return tuple(term for part in parts for term in textwrap.wrap(part, _MAX_TERM_CHARS))


def form_schema(form: type[AudioForm]) -> dict[str, Any]:
    """Return the JSON Schema of a form with its file."""
    schema = form.model_json_schema()
    file = {"type": "string", "format": "binary", "description": "The recording."}
    return {**schema, "properties": {"file": file, **schema["properties"]}, "required": ["file", *schema["required"]]}


def _parsed(form: type[F], fields: Iterable[tuple[str, str]]) -> F:
    values: dict[str, Any] = {}
    for field, value in fields:
        name = field.removesuffix("[]")
        if not value:
            continue  # As if it were absent.
        if name in _LISTS:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise _invalid(name, "is given more than once")
        else:
            values[name] = value
    try:
        return form.model_validate(values)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(error["loc"][0])
    match error["type"]:
        case "missing":
            raise OpenAIProblem(400, "missing_required_parameter", f"The parameter {name} is missing.", name)
        case "extra_forbidden":
            raise OpenAIProblem(400, "unsupported_parameter", f"The parameter {name[:100]} is not supported.", name)
        case _:
            raise _invalid(name, error["msg"])


def _options(
    form: AudioForm,
    task: Task,
    language: str | None = None,
    keywords: tuple[str, ...] = (),
    *,
    has_words: bool = False,
    has_speakers: bool = False,
) -> SmeltOptions:
    vocabulary = (*vocabulary_of(form.prompt), *keywords)
    if len(vocabulary) > MAX_VOCABULARY:
        raise _invalid("prompt", f"may have {MAX_VOCABULARY} words and names with commas between them")
    return SmeltOptions(
        language=language,
        task=task,
        vocabulary=vocabulary,
        word_times=True if has_words else None,
        speakers=has_speakers,
        model=None if form.model == WHISPER else form.model,
    )


def _invalid(parameter: str, reason: str) -> OpenAIProblem:
    return OpenAIProblem(400, "invalid_value", f"{parameter}: {reason}", parameter)
