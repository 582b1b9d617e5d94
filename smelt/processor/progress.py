"""Maps the progress of files to a percentage and a message. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from smelt.contract.vocabulary import PERCENT_RANGES, STAGE_MESSAGES, Status

RESUMING: Final = "Resuming..."
_MAX_TITLE_LENGTH: Final = 100


@dataclass(frozen=True)
class FilePosition:
    """The progress of one file: `share` of the current stage, 0 to 1, and its `weight` in the total."""

    share: float
    weight: float


def percentage(stage: Status, share: float) -> float:
    """Map a share of a stage to 0 to 100; always in the range of its stage."""
    low, high = PERCENT_RANGES[stage]
    return round(low + (high - low) * min(1.0, max(0.0, share)), 2)


def overall_share(files: Sequence[FilePosition]) -> float:
    """Return the weighted mean of the shares of all files."""
    total = sum(file.weight for file in files)
    if total <= 0:
        return 0.0
    return min(1.0, sum(min(1.0, max(0.0, file.share)) * file.weight for file in files) / total)


def message(stage: Status, percent: float, saved_percent: float, output: str | None = None) -> str:
    """Return the message of a stage, with the title of the output that is being written, if that is known.

    While this attempt is behind the saved percentage, it is `Resuming...`.
    """
    if percent < saved_percent:
        return RESUMING
    if stage != "synthesizing" or output is None:
        return STAGE_MESSAGES[stage]
    return f"Generating output: {' '.join(output.split())[:_MAX_TITLE_LENGTH]}..."
