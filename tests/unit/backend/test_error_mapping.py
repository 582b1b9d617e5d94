"""The mapping of server errors to the error classes that decide about retries."""

import pytest

from smelt.backend.error_mapping import map_api_error, map_http_error, map_storage_error
from smelt.errors import Forbidden, NotFound, RequestRejected, SmeltError, TransientError, Unauthorized, Unavailable


@pytest.mark.parametrize(
    "code",
    [
        None,
        "",
        "PGRST000",
        "PGRST003",
        "08006",
        "40001",
        "40P01",
        "53300",
        "55P03",
        "57014",
        "57P01",
        "500",
        "503",
        "429",
    ],
)
def test_transient_error_covers_the_codes_about_the_server(code: str | None) -> None:
    assert isinstance(map_api_error(code, "no"), TransientError)


@pytest.mark.parametrize("code", ["PGRST301", "PGRST302", "PGRST303", "401"])
def test_unauthorized_covers_the_codes_about_the_key(code: str) -> None:
    assert type(map_api_error(code, "no")) is Unauthorized


@pytest.mark.parametrize("code", ["42501", "403"])
def test_forbidden_covers_the_codes_about_missing_permissions(code: str) -> None:
    assert type(map_api_error(code, "no")) is Forbidden


@pytest.mark.parametrize("code", ["22P02", "23505", "PGRST202", "404", "P0001"])
def test_rejected_request_keeps_the_code_of_the_server(code: str) -> None:
    error = map_api_error(code, "no")
    assert isinstance(error, RequestRejected)
    assert error.code == code


def test_rejected_request_takes_the_error_code_from_the_hint() -> None:
    error = map_api_error("PT409", "At most 3 smelts may be open at a time.", "too_many_open")
    assert isinstance(error, RequestRejected)
    assert error.code == "too_many_open"
    assert isinstance(map_api_error("PT404", "There is no such smelt.", "not_found"), NotFound)
    unnamed = map_api_error("PT400", "no")
    assert isinstance(unnamed, RequestRejected)
    assert unnamed.code == "PT400"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401", Unauthorized),
        (403, Forbidden),
        ("404", NotFound),
        ("413", RequestRejected),
        ("415", RequestRejected),
        ("409", RequestRejected),
        ("429", Unavailable),
        (500, Unavailable),
        ("503", Unavailable),
    ],
)
def test_storage_error_is_mapped_by_the_status_in_its_body(status: int | str, kind: type[SmeltError]) -> None:
    assert type(map_storage_error(status, "Error", "no")) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthorized),
        (403, Forbidden),
        (408, Unavailable),
        (429, Unavailable),
        (502, Unavailable),
        (404, RequestRejected),
    ],
)
def test_http_status_without_a_body_is_mapped_to_an_error(status: int, kind: type[SmeltError]) -> None:
    assert type(map_http_error(status, "no")) is kind
