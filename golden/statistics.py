"""Statistics of a head's keys or values, found in one pass before they are prepared: exponent, mean and reach.

The sums are kept against a running exponent, as softmax keeps its sums against a running maximum: a row with a larger
exponent first shifts them right.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from golden.align import align_to
from golden.config import Config
from golden.formats import FORMATS
from golden.tables import MEAN_RECIPROCAL_BITS


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What is known of all rows together; numbers count units of 2**(exponent - bias - (input_bits - 2))."""

    exponent: int
    """Largest exponent of any element, biased, at least 1"""
    total: NDArray[np.int64]
    """[head_dim], sum over the rows, all rounded as the running exponent says"""
    mean: NDArray[np.int64]
    """[head_dim], rounded to nearest"""
    reach: int
    """No centred row has a larger sum of magnitudes"""


def statistics(config: Config, words: NDArray[np.uint16]) -> Statistics:
    """Statistics of rows [tokens, head_dim] of finite numbers of config.float_format, in the order of the rows.

    mean = (total * floor(2**(16 + n) / tokens) + half) >> (16 + n), n the bits of tokens: softmax does not notice which
    vector is subtracted from the keys, and the output gets back what was subtracted from the values.
    """
    form, bits = FORMATS[config.float_format], config.input_bits
    running = np.maximum.accumulate(align_to(form, words, bits).exponent)
    rows = align_to(form, words, bits, running).mantissa
    raised = np.flatnonzero(np.diff(running)) + 1
    total, reach, exponent = np.zeros(config.head_dim, np.int64), 0, int(running[0])
    for start, stop in pairwise([0, *raised.tolist(), len(rows)]):
        raise_by = min(int(running[start]) - exponent, config.total_bits)
        exponent = int(running[start])
        total = (total >> raise_by) + rows[start:stop].sum(axis=0)
        longest = int(np.abs(rows[start:stop]).sum(axis=1).max())
        reach = max((reach >> raise_by) + (raise_by > 0), longest)
    shift = MEAN_RECIPROCAL_BITS + len(rows).bit_length()
    mean = (total * ((1 << shift) // len(rows)) + (1 << shift >> 1)) >> shift
    # Rows that were rounded at a smaller exponent may be off by three quarters of a unit in every channel.
    return Statistics(exponent, total, mean, reach + int(np.abs(mean).sum()) + config.head_dim)
