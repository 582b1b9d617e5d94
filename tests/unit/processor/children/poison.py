"""Decoders whose children are poisoned; see `poisoned_decoder`."""

from pathlib import Path
from typing import Any

from smelt.processor.children.decoders import Decoders

ROOT = Path(__file__).parents[4]
# Of the poison that uses up its processor time.
POISON_DURATION_S = 30.0


def poisoned_decoders(
    poison: str, counter: Path, *, stage: str = "decode", times: int = 100, **options: Any
) -> Decoders:
    """Return decoders that are poisoned in the first children that get a file; `counter` gets a byte for each child."""
    counter.touch()
    environment = {
        "PYTHONPATH": str(ROOT),
        "POISON": poison,
        "POISON_STAGE": stage,
        "POISON_TIMES": str(times),
        "POISON_COUNTER": str(counter),
        "POISON_DURATION_S": str(int(POISON_DURATION_S)),
    }
    return Decoders(1, module="tests.unit.processor.children.poisoned_decoder", environment=environment, **options)
