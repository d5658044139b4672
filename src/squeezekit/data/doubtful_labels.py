"""Confident learning: which labels are probably wrong, by probabilities from a model that has not seen the images.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", arXiv 1911.00068.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LabelDoubts:
    """Images, the most doubtful label first: indices int64 [n], and the class that is likelier for each, int64 [n].

    The first `count` of them are flagged.
    """

    order: NDArray[np.int64]
    likelier: NDArray[np.int64]
    count: int


def label_doubts(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> LabelDoubts:
    """Doubts about `labels`, integers [n], by out-of-sample `probabilities` [n, classes].

    An image is confidently of a class when its probability reaches the mean that images labelled so have (section 3.1, the
    threshold of eq. 2), of several such classes the likeliest. Those that are confidently of another class than their label's are
    flagged ("off-diagonals" of the confident joint, method 2 of section 3.2), and ordered by how much likelier it is (the
    normalized margin of section 3.2).
    """
    rows, classes = np.arange(len(labels)), probabilities.shape[1]
    # A class without images is nobody's.
    means = [probabilities[labels == label, label].mean() if (labels == label).any() else np.inf for label in range(classes)]
    confident = np.where(probabilities >= np.array(means), probabilities, -1.0)
    others = probabilities.copy()
    others[rows, labels] = -1
    likelier = others.argmax(1)
    margin = others[rows, likelier] - probabilities[rows, labels]
    flagged = (confident.max(1) >= 0) & (confident.argmax(1) != labels)
    order = np.lexsort((-margin, ~flagged))
    return LabelDoubts(order, likelier[order], int(flagged.sum()))
