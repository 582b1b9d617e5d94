"""Parameters and responses of OpenAI's audio API: pure functions."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smelt.contract.events import Segment
from smelt.contract.options import SmeltOptions
from smelt.contract.vocabulary import MAX_VOCABULARY
from smelt.errors import RequestRejected, Unavailable
from smelt.gateway.errors import response_to
from smelt.gateway.openai.errors import OpenAIErrorBody, OpenAIProblem, translated
from smelt.gateway.openai.parameters import (
    AudioForm,
    Parameters,
    TranscriptionForm,
    TranslationForm,
    form_schema,
    parse_transcription,
    parse_translation,
    vocabulary_of,
)
from smelt.gateway.openai.transcripts import text_after, text_of
from smelt.gateway.requests import Metrics, Requests

MODEL = ("model", "whisper-1")
VERBOSE = ("response_format", "verbose_json")
WORD = ("timestamp_granularities[]", "word")
NAMES = st.sampled_from([*TranscriptionForm.model_fields, "keywords[]", "timestamp_granularities[]", "include[]", "x"])
VALUES = (
    st.sampled_from(["json", "verbose_json", "srt", "word", "segment", "true", "0", "0.2", "nan", "de"]) | st.text()
)


def error_of(parse: Any, *fields: tuple[str, str]) -> OpenAIProblem:
    """Return the error of invalid parameters."""
    with pytest.raises(OpenAIProblem) as raised:
        parse(fields)
    assert raised.value.status_code == 400
    return raised.value


def parsed(fields: list[tuple[str, str]]) -> Parameters | OpenAIProblem:
    """Return the parameters, or the error if they are invalid."""
    try:
        return parse_transcription(fields)
    except OpenAIProblem as exc:
        return exc


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], Parameters(SmeltOptions(), "json")),
        ([("language", "de")], Parameters(SmeltOptions(language="de"), "json")),
        ([("language", ""), ("prompt", "")], Parameters(SmeltOptions(), "json")),
        ([("stream", "true")], Parameters(SmeltOptions(), "json", is_stream=True)),
        ([("stream", "False"), ("temperature", "0.0")], Parameters(SmeltOptions(), "json")),
        ([("chunking_strategy", "auto")], Parameters(SmeltOptions(), "json")),
        (
            [("keywords[]", "Ada"), ("keywords", "Turing")],
            Parameters(SmeltOptions(vocabulary=("Ada", "Turing")), "json"),
        ),
        ([VERBOSE], Parameters(SmeltOptions(), "verbose_json")),
        (
            [VERBOSE, WORD],
            Parameters(SmeltOptions(word_times=True), "verbose_json", has_segments=False, has_words=True),
        ),
        (
            [VERBOSE, WORD, ("timestamp_granularities[]", "segment")],
            Parameters(SmeltOptions(word_times=True), "verbose_json", has_words=True),
        ),
        ([("response_format", "diarized_json")], Parameters(SmeltOptions(speakers=True), "diarized_json")),
    ],
)
def test_parameters_become_options_of_a_smelt(fields: list[tuple[str, str]], expected: Parameters) -> None:
    assert parse_transcription([MODEL, *fields]) == expected


def test_parameters_name_the_model_of_a_worker_unless_it_is_whisper_1() -> None:
    assert parse_transcription([MODEL]).options.model is None
    assert parse_transcription([("model", "small")]).options.model == "small"
    assert parse_translation([("model", "small")]).options == SmeltOptions(model="small", task="translate")


@pytest.mark.parametrize(
    ("fields", "code", "parameter"),
    [
        ([("temperature", "0.2")], "invalid_value", "temperature"),
        ([("temperature", "nan")], "invalid_value", "temperature"),
        ([("response_format", "diarized_json"), ("stream", "true")], "invalid_value", "response_format"),
        ([("response_format", "srt"), ("stream", "true")], "invalid_value", "response_format"),
        ([("stream", "maybe")], "invalid_value", "stream"),
        ([WORD], "invalid_value", "timestamp_granularities"),
        ([VERBOSE, WORD, ("stream", "true")], "invalid_value", "timestamp_granularities"),
        ([VERBOSE, ("timestamp_granularities[]", "line")], "invalid_value", "timestamp_granularities"),
        ([("language", "de"), ("language", "en")], "invalid_value", "language"),
        ([("keywords[]", "a" * 101)], "invalid_value", "keywords"),
        ([("prompt", "a," * (MAX_VOCABULARY + 1))], "invalid_value", "prompt"),
        ([("chunking_strategy", '{"type": "server_vad"}')], "invalid_value", "chunking_strategy"),
        ([("chunking_strategy[type]", "server_vad")], "unsupported_parameter", "chunking_strategy[type]"),
        ([("include[]", "logprobs")], "unsupported_parameter", "include"),
        ([("languages[]", "de")], "unsupported_parameter", "languages"),
        ([("known_speaker_names[]", "Ada")], "unsupported_parameter", "known_speaker_names"),
        ([("hotwords", "Ada")], "unsupported_parameter", "hotwords"),
    ],
)
def test_parameters_that_are_not_supported_are_rejected(
    fields: list[tuple[str, str]], code: str, parameter: str
) -> None:
    error = error_of(parse_transcription, MODEL, *fields)
    assert (error.code, error.parameter) == (code, parameter)


def test_parameters_need_a_model_and_those_of_a_translation_are_fewer() -> None:
    assert error_of(parse_transcription).parameter == "model"
    for field in (("language", "de"), ("stream", "true"), ("keywords[]", "Ada"), WORD):
        assert error_of(parse_translation, MODEL, field).code == "unsupported_parameter"
    assert error_of(parse_translation, MODEL, ("response_format", "diarized_json")).code == "invalid_value"


@given(fields=st.lists(st.tuples(NAMES, VALUES), max_size=4))
@settings(max_examples=50)
def test_parameters_of_any_fields_are_parsed_or_rejected_with_the_name_of_one(fields: list[tuple[str, str]]) -> None:
    match parsed(fields):
        case OpenAIProblem(parameter=parameter):
            assert parameter in {name.removesuffix("[]") for name, _ in fields} | {"model"}
        case Parameters() as parameters:
            known = {*TranscriptionForm.model_fields, "keywords[]", WORD[0]}
            assert {name for name, value in fields if value} <= known
            assert parameters.options.word_times is (True if parameters.has_words else None)


@given(prompt=st.text())
def test_vocabulary_has_every_letter_of_a_prompt_in_terms_of_at_most_100_characters(prompt: str) -> None:
    terms = vocabulary_of(prompt)
    assert SmeltOptions(vocabulary=terms[:MAX_VOCABULARY]).vocabulary == terms[:MAX_VOCABULARY]
    assert all(0 < len(term) <= 100 for term in terms)
    assert [c for c in "".join(terms) if c.isalnum()] == [c for c in prompt if c.isalnum()]


def test_vocabulary_of_a_prompt_is_divided_at_commas_and_lines() -> None:
    assert vocabulary_of("Ada Lovelace, Smelt;\nGo, go. ") == ("Ada Lovelace", "Smelt", "Go", "go.")
    assert vocabulary_of(" , ") == ()


@given(texts=st.lists(st.text()))
def test_deltas_of_segments_joined_are_the_whole_text(texts: list[str]) -> None:
    segments = [Segment(index=n, start=n, end=n + 1, text=text) for n, text in enumerate(texts)]
    assert "".join(text_after(n, segment) for n, segment in enumerate(segments)) == text_of(segments)
    assert text_of(segments) == " ".join(text.strip() for text in texts)


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/models"])
def test_errors_under_v1_are_translated(path: str) -> None:
    response = translated(path, response_to(RequestRejected("invalid_format", "No recording.")))
    error = OpenAIErrorBody.model_validate_json(bytes(response.body)).error
    assert (response.status_code, error.code, error.param) == (400, "invalid_format", "file")
    assert (error.message, error.type) == ("No recording.", "invalid_request_error")


def test_errors_keep_their_headers_and_types_of_the_server_and_of_limits() -> None:
    busy = translated("/v1/x", response_to(RequestRejected("too_many_open", "Too many.")))
    away = translated("/v1/x", response_to(Unavailable("away")))
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "30")
    assert b'"rate_limit_error"' in bytes(busy.body)
    assert (away.status_code, away.headers["retry-after"]) == (503, "5")
    assert b'"server_error"' in bytes(away.body)


async def test_errors_of_requests_that_outlast_the_drain_are_translated() -> None:
    sent: list[Any] = []

    async def cancelled(*_: object) -> None:
        raise asyncio.CancelledError

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/audio/transcriptions"}
    await Requests(cancelled, Metrics())(scope, cancelled, send)
    assert OpenAIErrorBody.model_validate_json(sent[1]["body"]).error.code == "unavailable"


@pytest.mark.parametrize("path", ["/", "/v10", "/api/smelts", "/api/v1/x"])
def test_errors_elsewhere_are_not_translated(path: str) -> None:
    response = response_to(Unavailable("away"))
    assert translated(path, response) is response


@pytest.mark.parametrize("form", [TranscriptionForm, TranslationForm])
def test_schema_of_a_form_has_all_of_its_fields_and_the_file(form: type[AudioForm]) -> None:
    schema = form_schema(form)
    assert set(schema["properties"]) == {"file", *form.model_fields}
    assert schema["required"] == ["file", "model"]
    assert schema["additionalProperties"] is False
