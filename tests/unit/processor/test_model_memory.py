"""The model keeps the memory of a window for the next one, instead of having the kernel clear it each time."""

import os
import platform
import subprocess
import sys

import pytest

from smelt.processor.speech.loaded import model_environment

# Prints the page faults of an encoding, once the memory for it has been allocated before.
PROGRAM = """
import resource
import numpy as np
from smelt.processor.speech.model import load_model
from smelt.processor.speech.values import ModelOptions
model = load_model(ModelOptions(device="cpu", cpu_threads=1))
windows = np.zeros((4, model.feature_extractor.mel_filters.shape[0], 3000), np.float32)
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model.encode(windows)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(environment: dict[str, str]) -> int:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, env=plain | environment, check=True, capture_output=True, text=True, timeout=300)
    return int(ended.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc reads these variables")
def test_memory_of_a_window_is_kept_for_the_next_one() -> None:
    assert page_faults(model_environment()) < page_faults({}) / 4


def test_variables_of_the_allocator_can_be_set_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert model_environment()["MALLOC_ARENA_MAX"] == "4"
    assert model_environment()["MALLOC_MMAP_MAX_"] == "0"
