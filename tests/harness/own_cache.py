"""The cache of the tests, so that they leave that of the person who runs them as it is."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs
import pytest

# Of the embedded stack: a program with a known hash, and data folders with the hash of their sources as names. They are
# the same in every cache, and take a download or seconds to make.
_SHARED: Final = ("postgrest", "templates")


@contextmanager
def own_cache() -> Iterator[None]:
    """Set `XDG_CACHE_HOME` to a temporary folder during the block, for this process and those that it starts."""
    users = platformdirs.user_cache_path("smelt")
    with tempfile.TemporaryDirectory(prefix="smelt-tests-") as folder, pytest.MonkeyPatch.context() as patch:
        own = Path(folder) / "smelt"
        own.mkdir()
        for name in _SHARED:
            (users / name).mkdir(parents=True, exist_ok=True)
            (own / name).symlink_to(users / name)
        patch.setenv("XDG_CACHE_HOME", folder)
        yield


def cached_for_user() -> set[str]:
    """Return the names in the cache that smelt has without `XDG_CACHE_HOME`, except those that all caches share."""
    return {path.name for path in (Path.home() / ".cache" / "smelt").glob("*")} - set(_SHARED)
