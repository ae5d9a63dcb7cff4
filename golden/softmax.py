"""Online base-2 softmax: probabilities of a lane group against a running integer maximum.

The maximum is an integer, so rescaling what was accumulated before is a shift (Softermax, DAC 2021, section 3).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.tables import EXP2_GUARD_BITS, exp2_tables


@dataclasses.dataclass(frozen=True)
class Probabilities:
    """What lane groups, one after another, add to their rows."""

    running_max: NDArray[np.int64]
    """[rows, groups], after each group"""
    rescale: NDArray[np.int64]
    """[rows, groups], right shift of everything accumulated before the group"""
    prob: NDArray[np.int64]
    """[rows, groups, lanes], 2**(score - running_max) with prob_bits - 1 fraction bits; 0 in inactive lanes"""
    prob_sum: NDArray[np.int64]
    """[rows, groups], sum of prob"""
    weight: NDArray[np.int64]
    """[rows, groups, lanes], prob times the value scale: the operand of the p . v tables"""


def initial_max(config: Config) -> int:
    """The running maximum before any key: the least score."""
    return -(1 << (config.score_integer_bits - 1))


def exp2(config: Config, distance: NDArray[np.int64]) -> NDArray[np.int64]:
    """2**-distance of non-negative fixed-point distances, with prob_bits - 1 fraction bits, saturated to prob_max."""
    tables = exp2_tables(config)
    fraction = distance & ((1 << config.score_fraction_bits) - 1)
    integer = np.minimum(distance >> config.score_fraction_bits, config.prob_bits + 1)
    high = fraction >> (tables.middle_bits + tables.low_bits)
    low = fraction & ((1 << tables.low_bits) - 1)
    mantissa = tables.coarse[fraction >> tables.low_bits] - tables.fine[(high << tables.low_bits) + low]
    drop = integer + EXP2_GUARD_BITS
    return np.minimum((mantissa + (1 << drop >> 1)) >> drop, config.prob_max)


def softmax(
    config: Config,
    score: NDArray[np.int64],
    active: NDArray[np.bool_],
    running_max: NDArray[np.int64],
    value_mantissa: NDArray[np.int64],
    value_shift: NDArray[np.int64],
) -> Probabilities:
    """Lane groups of every row: scores [rows, groups, lanes], active [groups, lanes], running_max [rows] before them.

    The maximum after a group is the ceiling of the group's largest score, if larger. A value's scale is
    value_mantissa * 2**-(scale_bits + value_shift), both [groups, lanes]; the weight is rounded to nearest, ties up.
    """
    least = initial_max(config) << config.score_fraction_bits
    group_max = np.where(active, score, least).max(axis=2)
    ceiling = -(-group_max >> config.score_fraction_bits)
    maxima = np.maximum.accumulate(np.concatenate([running_max[:, None], ceiling], axis=1), axis=1)
    new_max = maxima[:, 1:]
    rescale = np.minimum(np.diff(maxima, axis=1), config.output_sum_bits)
    distance = (new_max << config.score_fraction_bits)[:, :, None] - score
    prob = np.where(active, exp2(config, np.maximum(distance, 0)), 0)
    drop = config.scale_bits + value_shift
    weight = (prob * value_mantissa + (1 << drop >> 1)) >> drop
    return Probabilities(new_max, rescale, prob, prob.sum(axis=2), weight)
