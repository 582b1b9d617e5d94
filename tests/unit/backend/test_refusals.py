"""Whether a call is worth repeating is told by the class of its error."""

import pytest

from smelt.backend.refusals import http_refusal, refusal, storage_refusal
from smelt.errors import NotFound, Passing, RequestRefused, SmeltError, Unauthorized, Unavailable


@pytest.mark.parametrize(
    "code",
    [None, "PGRST000", "PGRST003", "08006", "40001", "40P01", "53300", "55P03", "57014", "57P01", "500", "503", "429"],
)
def test_what_speaks_of_the_server_may_be_repeated(code: str | None) -> None:
    assert isinstance(refusal(code, "no"), Passing)


@pytest.mark.parametrize("code", ["42501", "PGRST301", "PGRST302", "PGRST303", "401", "403"])
def test_a_key_that_is_not_enough_is_unauthorized(code: str) -> None:
    assert isinstance(refusal(code, "no"), Unauthorized)


@pytest.mark.parametrize("code", ["22P02", "23505", "PGRST202", "404", "P0001"])
def test_what_speaks_of_the_request_is_refused_under_its_own_code(code: str) -> None:
    error = refusal(code, "no")
    assert isinstance(error, RequestRefused)
    assert error.code == code


def test_a_refusal_of_smelt_carries_the_stable_code() -> None:
    error = refusal("PT409", "At most 3 smelts may be open at a time.", "too_many_open")
    assert isinstance(error, RequestRefused)
    assert error.code == "too_many_open"
    assert isinstance(refusal("PT404", "There is no such smelt.", "not_found"), NotFound)
    unnamed = refusal("PT400", "no")
    assert isinstance(unnamed, RequestRefused)
    assert unnamed.code == "PT400"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401", Unauthorized),
        (403, Unauthorized),
        ("404", NotFound),
        ("413", RequestRefused),
        ("415", RequestRefused),
        ("409", RequestRefused),
        ("429", Unavailable),
        (500, Unavailable),
        ("503", Unavailable),
    ],
)
def test_storage_is_understood_by_the_status_in_its_body(status: int | str, kind: type[SmeltError]) -> None:
    assert type(storage_refusal(status, "Error", "no")) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthorized),
        (403, Unauthorized),
        (408, Unavailable),
        (429, Unavailable),
        (502, Unavailable),
        (404, RequestRefused),
    ],
)
def test_a_bare_status_is_understood(status: int, kind: type[SmeltError]) -> None:
    assert type(http_refusal(status, "no")) is kind
