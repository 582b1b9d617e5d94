"""Groups the windows of a recording by their voices."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The mean cosine distance at which two groups count as different voices. On read speech and calls, any value from 0.55
# to 0.75 finds the right number of speakers.
_MAX_DISTANCE: Final = 0.7
# A group with fewer windows is noise, laughter, or two voices at a time.
_MIN_WINDOWS: Final = 3
_MIN_SHARE: Final = 0.01
# The distances of all pairs take memory: of more windows, an even selection is grouped.
_MAX_WINDOWS: Final = 4000
# A window whose voice is about as near to another speaker.
_MIN_MARGIN: Final = 0.1


@dataclass(frozen=True)
class Clusters:
    """The group of each window, and the share of windows that are about as near to another group, 0 to 1."""

    labels: list[int]
    uncertain: float


def cluster(embeddings: "NDArray[np.float32]") -> Clusters:
    """Group windows by the directions of their vectors (windows, dimensions), each of length 1."""
    count = len(embeddings)
    if count < 2:
        return Clusters([0] * count, 0.0)
    selected = embeddings[:: -(-count // _MAX_WINDOWS)]
    groups = fcluster(linkage(selected, "average", metric="cosine"), _MAX_DISTANCE, "distance")
    sizes = np.bincount(groups)
    min_size = max(_MIN_WINDOWS, _MIN_SHARE * len(selected))
    large = np.flatnonzero(sizes >= min_size) if sizes.max() >= min_size else np.array([sizes.argmax()])
    centers = np.stack([selected[groups == one].mean(axis=0) for one in large])
    likeness = embeddings @ (centers / np.linalg.norm(centers, axis=1, keepdims=True)).T
    if len(large) == 1:
        return Clusters([0] * count, 0.0)
    second, best = np.sort(likeness, axis=1)[:, -2:].T
    return Clusters(likeness.argmax(axis=1).tolist(), float(np.mean(best - second < _MIN_MARGIN)))
