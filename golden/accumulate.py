"""Accumulation of p . v and of p over the lane groups of a row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def accumulate(total: NDArray[np.int64], rescale: NDArray[np.int64], added: NDArray[np.int64]) -> NDArray[np.int64]:
    """The total [rows, ...] after a lane group that adds `added` [rows, ...].

    What came before is first shifted right by `rescale` [rows], rounding towards minus infinity: an error of one
    unit, of which a row's sum of probabilities has 2**(prob_bits - 2) or more.
    """
    return (total >> rescale.reshape(-1, *[1] * (total.ndim - 1))) + added
