"""The tests have a cache of their own, and so do the processes that they start."""

import sys
from pathlib import Path

import platformdirs

from tests.acceptance.commands import environment
from tests.harness.processes import run

PRINT_CACHE = "import platformdirs; print(platformdirs.user_cache_path('smelt'))"


def test_cache_of_the_tests_is_not_that_of_the_user() -> None:
    cache = platformdirs.user_cache_path("smelt")
    assert not cache.is_relative_to(Path.home() / ".cache")
    assert not (cache / "calibration.json").is_symlink()
    done = run([sys.executable, "-c", PRINT_CACHE], env=environment({}))
    assert done.stdout.strip() == str(cache)
