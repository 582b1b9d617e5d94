"""The names, media types and sizes that Storage accepts."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.storage import media, names
from smelt.local.storage.errors import StorageError

ALLOWED = string.ascii_letters + string.digits + "_/!.*'() &$=@;:+,?-"


@given(st.text(ALLOWED, min_size=1))
def test_key_of_safe_characters_is_accepted(key: str) -> None:
    """Any text of the allowed characters is a valid key."""
    names.check_key(key)


@given(st.text(ALLOWED), st.characters(exclude_characters=ALLOWED), st.text(ALLOWED))
def test_key_with_an_unsafe_character_is_rejected(before: str, character: str, after: str) -> None:
    """Control characters, umlauts, brackets and a final line break are rejected; the message contains the key."""
    key = before + character + after
    with pytest.raises(StorageError) as error:
        names.check_key(key)
    assert error.value.code == "InvalidKey"
    assert error.value.message == f"Invalid key: {key}"


@pytest.mark.parametrize("key", ["a/../b", "..", "./a", "a/."])
def test_key_with_dot_segments_is_rejected(key: str) -> None:
    """The message is that of the platform's object store."""
    with pytest.raises(StorageError, match="contains dot path segment"):
        names.check_unicode("bucket", key, "version")


def test_key_length_is_limited_to_1024_bytes() -> None:
    """1,024 bytes are accepted, 1,025 are rejected."""
    names.check_unicode("bucket", "a" * 1024, "version")
    with pytest.raises(StorageError) as error:
        names.check_unicode("bucket", "a" * 1025, "version")
    assert error.value.http_status == 500


@pytest.mark.parametrize("name", ["", " a", "a ", "a/b", "früh", "a" * 101])
def test_bucket_name_that_is_invalid_is_rejected(name: str) -> None:
    """Slashes, surrounding spaces, other alphabets, and more than a hundred characters."""
    with pytest.raises(StorageError) as error:
        names.check_bucket_name(name)
    assert error.value.code == "InvalidBucketName"


@pytest.mark.parametrize(
    ("mime_type", "allowed", "accepted"),
    [
        ("audio/webm", None, True),
        ("audio/webm", [], True),
        ("audio/webm", ["audio/*"], True),
        ("audio/webm;codecs=opus", ["audio/*"], True),
        ("audiobook/x", ["audio/*"], False),
        ("image/png", ["image/png"], True),
        ("image/png;charset=utf-8", ["image/png"], False),
        ("text/plain", ["*"], False),
        ("text/plain", ["*/*"], False),
    ],
)
def test_mime_type_is_checked_against_the_bucket(mime_type: str, allowed: list[str] | None, accepted: bool) -> None:
    """`type/*` also matches parameters, an exact type only itself; without a list, any type is allowed."""
    if accepted:
        media.check_type(mime_type, allowed)
        return
    with pytest.raises(StorageError, match="is not supported"):
        media.check_type(mime_type, allowed)


@pytest.mark.parametrize(
    ("text", "size"), [("2MB", 2_000_000), ("1.5kb", 1500), ("3GB", 3 * 10**9), ("7b", 7), ("lots", None), ("5", None)]
)
def test_size_units_are_decimal(text: str, size: int | None) -> None:
    """Units are decimal, as on the platform."""
    assert media.parse_size(text) == size


def test_robots_tag_rules_are_validated() -> None:
    """Known rules are accepted, alone or in a list; the error names an unknown one."""
    media.check_robots_tag("noindex, nofollow, max-snippet:20")
    with pytest.raises(StorageError, match='Invalid X-Robots-Tag rule: "zzz"'):
        media.check_robots_tag("noindex, zzz")


@pytest.mark.parametrize(
    ("mime_type", "accepted"), [("audio/*", True), ("*", True), ("a/b;c=d", True), ("nonsense", False)]
)
def test_mime_type_patterns_of_a_bucket_are_validated(mime_type: str, accepted: bool) -> None:
    """Only patterns that a media type can match are valid."""
    if accepted:
        media.check_allowed_types([mime_type])
        return
    with pytest.raises(StorageError, match="mime type nonsense is not supported"):
        media.check_allowed_types([mime_type])


def test_folder_placeholder_is_recognized_by_its_name() -> None:
    """The end of the name identifies it."""
    assert names.is_placeholder("a/.emptyFolderPlaceholder")
    assert not names.is_placeholder("a/b")
    names.check_bucket_name("a b")
