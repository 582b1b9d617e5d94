"""From how far the files are to what a watcher sees. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from smelt.contract.vocabulary import PERCENT_RANGES, STAGE_MESSAGES, Status

RESUMING: Final = "Resuming..."


@dataclass(frozen=True)
class Place:
    """How far one file is within the stage of its smelt: `share` 0 to 1; `weight` is its part of the work."""

    share: float
    weight: float


def percentage(stage: Status, share: float) -> float:
    """Where a share of a stage lies on the way from 0 to 100; never outside of the range of its stage."""
    low, high = PERCENT_RANGES[stage]
    return round(low + (high - low) * min(1.0, max(0.0, share)), 2)


def overall_share(places: Sequence[Place]) -> float:
    """The share of a stage that all files together have behind them."""
    total = sum(place.weight for place in places)
    if total <= 0:
        return 0.0
    return min(1.0, sum(min(1.0, max(0.0, place.share)) * place.weight for place in places) / total)


def message(stage: Status, reached: float, mark: float) -> str:
    """The message of a stage; a run that is behind the mark of an earlier attempt says that it catches up."""
    return RESUMING if reached < mark else STAGE_MESSAGES[stage]
