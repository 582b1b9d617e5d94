"""Names, types and sizes that Storage accepts."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.storage import media, names
from smelt.local.storage.refusal import Refusal

ALLOWED = string.ascii_letters + string.digits + "_/!.*'() &$=@;:+,?-"


@given(st.text(ALLOWED, min_size=1))
def test_a_key_of_safe_characters_is_accepted(key: str) -> None:
    """Every text over the platform's alphabet is a key."""
    names.check_key(key)


@given(st.text(ALLOWED), st.characters(exclude_characters=ALLOWED), st.text(ALLOWED))
def test_one_other_character_spoils_a_key(before: str, character: str, after: str) -> None:
    """Control characters, umlauts, brackets, a line break at the end: all are refused with the key in the message."""
    key = before + character + after
    with pytest.raises(Refusal) as refused:
        names.check_key(key)
    assert refused.value.code == "InvalidKey"
    assert refused.value.message == f"Invalid key: {key}"


@pytest.mark.parametrize("key", ["a/../b", "..", "./a", "a/."])
def test_dot_segments_are_never_stored(key: str) -> None:
    """They are refused in the words of the platform's object store."""
    with pytest.raises(Refusal, match="contains dot path segment"):
        names.check_storable("bucket", key, "version")


def test_a_key_may_be_as_long_as_object_stores_take() -> None:
    """1,024 bytes are stored, one more is not."""
    names.check_storable("bucket", "a" * 1024, "version")
    with pytest.raises(Refusal) as refused:
        names.check_storable("bucket", "a" * 1025, "version")
    assert refused.value.http_status == 500


@pytest.mark.parametrize("name", ["", " a", "a ", "a/b", "früh", "a" * 101])
def test_a_bad_bucket_name_is_refused(name: str) -> None:
    """Slashes, spaces around, other alphabets, and more than a hundred characters."""
    with pytest.raises(Refusal) as refused:
        names.check_bucket_name(name)
    assert refused.value.code == "InvalidBucketName"


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
        ("text/plain", ["*"], True),
    ],
)
def test_types_that_a_bucket_takes(mime_type: str, allowed: list[str] | None, accepted: bool) -> None:
    """`type/*` covers parameters too, an exact type only itself; no list is any type."""
    if accepted:
        media.check_type(mime_type, allowed)
        return
    with pytest.raises(Refusal, match="is not supported"):
        media.check_type(mime_type, allowed)


@pytest.mark.parametrize(
    ("text", "size"), [("2MB", 2_000_000), ("1.5kb", 1500), ("3GB", 3 * 10**9), ("7b", 7), ("lots", None), ("5", None)]
)
def test_sizes_for_people(text: str, size: int | None) -> None:
    """Units are decimal, as on the platform."""
    assert media.parse_size(text) == size


def test_robots_rules() -> None:
    """Known rules pass, alone or in a list; others are named."""
    media.check_robots_tag("noindex, nofollow, max-snippet:20")
    with pytest.raises(Refusal, match='Invalid X-Robots-Tag rule: "zzz"'):
        media.check_robots_tag("noindex, zzz")


@pytest.mark.parametrize(
    ("mime_type", "accepted"), [("audio/*", True), ("*", True), ("a/b;c=d", True), ("nonsense", False)]
)
def test_types_that_a_bucket_may_list(mime_type: str, accepted: bool) -> None:
    """Only what a type can match."""
    if accepted:
        media.check_allowed_types([mime_type])
        return
    with pytest.raises(Refusal, match="mime type nonsense is not supported"):
        media.check_allowed_types([mime_type])


def test_the_marker_of_a_folder() -> None:
    """It is told by the end of its name."""
    assert names.is_placeholder("a/.emptyFolderPlaceholder")
    assert not names.is_placeholder("a/b")
    names.check_bucket_name("a b")
