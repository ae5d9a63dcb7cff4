"""Contents of the lookup tables of the datapath, such as 2**-x for the softmax and 1/x for the normaliser.

And the constants of preparation, matching and pooling: how exact a number is that golden and RTL both compute.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from golden.config import Config

EXP2_GUARD_BITS = 2
"""Bits that the exp2 tables carry below a probability's last bit."""

RECIPROCAL_INDEX_BITS = 7
"""Leading fraction bits that select a segment of the reciprocal; linear inside, which errs by 2**-16 at most."""

CODE_FRACTION_BITS = 4
"""Fraction bits, of a unit of the last digit, to which numbers are rounded before any digit is."""
FACTOR_BITS = 16
"""Bits of a factor's mantissa, leading one included, and of the inverse of a scale's mantissa."""
INVERSE_BITS = 20
"""Fraction bits of the inverse of the largest code."""
ONE = 1 << (FACTOR_BITS - 1)
"""The mantissa of the factor 1."""

MEAN_RECIPROCAL_BITS = 16
"""Significant bits, less one, of the reciprocal of the number of tokens."""
LIMIT_BITS = 16
"""Fraction bits of the square of the distance below which a row is reused."""

RECIPROCAL_BITS = 9
"""Bits of the reciprocal of a number of rows, which is exact for powers of two."""

MEAN_FRACTION_BITS = 12
"""Bits that a restored row keeps below the last one of the mean, whose unit is that of the largest values."""


@dataclasses.dataclass(frozen=True)
class Exp2Tables:
    """Bipartite tables of 2**-f (Das Sarma and Matula, ARITH 1995): 2**-f = coarse[high, middle] - fine[high, low].

    The fraction f is split into high, middle and low fields. The values are scaled by
    2**(prob_bits - 1 + EXP2_GUARD_BITS); `fine` uses one slope for all middle fields of a high field.
    """

    high_bits: int
    middle_bits: int
    low_bits: int
    coarse: NDArray[np.int64]
    """[2**(high_bits + middle_bits)]"""
    fine: NDArray[np.int64]
    """[2**(high_bits + low_bits)], index high * 2**low_bits + low"""


@functools.cache
def exp2_tables(config: Config) -> Exp2Tables:
    """The exp2 tables of a configuration; 2**(high + middle) + 2**(high + low) entries in place of 2**fraction_bits."""
    low = config.score_fraction_bits // 3
    middle = (config.score_fraction_bits - low) // 2
    high = config.score_fraction_bits - low - middle
    one = float(1 << (config.prob_bits - 1 + EXP2_GUARD_BITS))
    step = 2.0**-config.score_fraction_bits
    segment = np.arange(1 << (high + middle)) * (step * (1 << low))
    coarse = np.rint(one * np.exp2(-segment)).astype(np.int64)
    centre = (np.arange(1 << high) + 0.5) * (step * (1 << (low + middle))) - 0.5 * step * (1 << low)
    offset = np.arange(1 << low) * step
    fine = np.rint(one * np.exp2(-centre)[:, None] * (1 - np.exp2(-offset))[None, :]).astype(np.int64)
    return Exp2Tables(high, middle, low, coarse, fine.reshape(-1))


@dataclasses.dataclass(frozen=True)
class ReciprocalTables:
    """Piecewise linear 1/x of x in [1, 2): base[i] - (slope[i] * rest >> rest_bits), scaled by 2**reciprocal_bits."""

    rest_bits: int
    base: NDArray[np.int64]
    slope: NDArray[np.int64]


@functools.cache
def reciprocal_tables(config: Config) -> ReciprocalTables:
    """The reciprocal tables of a configuration: 2**RECIPROCAL_INDEX_BITS segments."""
    one = 1 << config.reciprocal_bits
    edge = one / (1 + np.arange((1 << RECIPROCAL_INDEX_BITS) + 1) / (1 << RECIPROCAL_INDEX_BITS))
    base = np.minimum(np.rint(edge[:-1]), one - 1).astype(np.int64)
    slope = np.rint(edge[:-1] - edge[1:]).astype(np.int64)
    return ReciprocalTables(config.reciprocal_bits - 1 - RECIPROCAL_INDEX_BITS, base, slope)


@functools.cache
def mass_table(config: Config) -> NDArray[np.int64]:
    """2**-f of fractions f of estimate_fraction_bits bits, scaled by 2**mass_bits: [2**estimate_fraction_bits]."""
    steps = 1 << config.estimate_fraction_bits
    return np.rint((1 << config.mass_bits) * np.exp2(-np.arange(steps) / steps)).astype(np.int64)


@functools.cache
def log2_table(config: Config) -> NDArray[np.int64]:
    """log2(1 + x) of x in the middle of the steps of a fraction of estimate_fraction_bits bits, scaled as it is."""
    steps = 1 << config.estimate_fraction_bits
    return np.rint(steps * np.log2(1 + (np.arange(steps) + 0.5) / steps)).astype(np.int64)
