"""Benchmarks follow the code that they measure; none runs here."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = sorted(path.stem for path in (Path(__file__).parents[2] / "scripts" / "bench").glob("*.py"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_imports_what_exists(name: str) -> None:
    importlib.import_module(name)
