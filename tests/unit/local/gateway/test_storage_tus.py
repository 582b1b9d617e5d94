"""The headers of the TUS protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from smelt.local.storage.tus import check_headers, format_metadata, parse_metadata


@given(
    st.dictionaries(
        st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1),
        st.none() | st.text(min_size=1),
        min_size=1,
    )
)
def test_tus_metadata_survives_formatting_and_parsing(metadata: dict[str, str | None]) -> None:
    assert parse_metadata(format_metadata(metadata)) == metadata


@pytest.mark.parametrize("text", ["", " ", ",", "a b", "a YQ== c", "a YQ==,a Yg==", "ä YQ==", "a YQ=", "a,", "a !!!!"])
def test_tus_metadata_that_is_malformed_is_rejected(text: str) -> None:
    assert parse_metadata(text) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tus-resumable", "0.2.2"),
        ("upload-offset", "-1"),
        ("upload-offset", "1.5"),
        ("upload-length", "01"),
        ("upload-length", "9" * 19),
        ("upload-length", "²"),
        ("upload-defer-length", "2"),
        ("content-type", "text/plain"),
    ],
)
def test_tus_header_that_is_invalid_is_rejected(name: str, value: str) -> None:
    response = check_headers(Headers({"tus-resumable": "1.0.0", name: value}), "PATCH")
    assert response is not None
    assert (response.status_code, response.body) == (400, f"Invalid {name}\n".encode())
    assert "access-control-allow-origin" not in response.headers
