"""The summary of a validation error describes the error without the value."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError

import smelt.backend.client_rpc
import smelt.backend.worker_rpc
import smelt.subscriber.client  # noqa: F401 - Defines further models.
from smelt.backend.rpc import RpcResponse
from smelt.contract.events import Model, error_summary, parse_event

WORDS = "we have decided to"


def models(shape: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in shape.__subclasses__():
        yield each
        yield from models(each)


def test_validation_error_never_contains_the_value() -> None:
    tried = 0
    for shape in {*models(Model), *models(RpcResponse)}:
        if shape.__module__.startswith("smelt.") and shape.model_fields:
            for value in (WORDS, {key: [WORDS] for key in shape.model_fields}):
                with pytest.raises(ValidationError) as caught:
                    shape.model_validate(value)
                assert WORDS not in f"{caught.value} {caught.value!r}"
                tried += 1
    assert tried > 40


def test_validation_error_of_an_event_names_field_and_kind() -> None:
    with pytest.raises(ValidationError) as caught:
        parse_event("segments", {"smelt_id": WORDS, "segments": [{"index": WORDS, "text": 1}]})
    summary = error_summary(caught.value)
    assert "smelt_id: uuid_parsing" in summary
    assert "segments.0.index: int_parsing" in summary
    assert WORDS not in summary
