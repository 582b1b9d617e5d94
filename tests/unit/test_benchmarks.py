"""Benchmarks follow the code that they measure; none runs here."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = sorted(path.stem for path in (Path(__file__).parents[2] / "scripts" / "bench").glob("*.py"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_imports_what_exists(name: str) -> None:
    importlib.import_module(name)


def test_benchmark_names_hide_no_standard_module() -> None:
    assert not sys.stdlib_module_names & set(BENCHMARKS)
