"""Estimates: how much attention pooled queries seem to give to pooled keys, in base-2 logarithms."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.multiplier import multiply_rows
from golden.normalise import bit_length
from golden.pool import RECIPROCAL_BITS, Pooled, reciprocal
from golden.quantise import FACTOR_BITS
from golden.tables import log2_table, mass_table


@dataclasses.dataclass(frozen=True)
class Ranked:
    """Estimates, with estimate_fraction_bits fraction bits."""

    score: NDArray[np.int64]
    """[queries, keys], base-2 scores of pooled queries and pooled keys"""
    log_mass: NDArray[np.int64]
    """[queries], log2 of the sum of 2**score over all keys, each as often as it has rows"""
    rank: NDArray[np.int64]
    """[queries, parts], log2 of the largest probability of a key of the part: its largest score less log_mass,
    saturated to rank_bits"""


def unseen(config: Config) -> int:
    """The rank of a part without any key that was looked at: the least."""
    return -(1 << (config.rank_bits - 1))


def estimate(
    config: Config,
    query: Pooled,
    key: Pooled,
    scale: tuple[int, int],
    part_start: NDArray[np.int64],
    inside: NDArray[np.bool_] | None = None,
) -> Ranked:
    """Estimates for pooled queries and pooled keys, these in parts that begin at part_start [parts].

    `scale` is the mantissa, of FACTOR_BITS, and the exponent of what turns a product of vectors in their units into a
    base-2 score. Only keys `inside` [queries, keys] are looked at, one after the other.
    """
    scores = score(config, query, key, scale)
    look = np.ones(scores.shape, bool) if inside is None else inside
    log_mass = _log_mass(config, scores, key.size, look)
    largest = np.maximum.reduceat(np.where(look, scores, _least(config)), part_start, axis=1)
    seen = np.logical_or.reduceat(look, part_start, axis=1)
    rank = np.maximum(largest - log_mass[:, None], unseen(config))
    return Ranked(scores, log_mass, np.where(seen, rank, unseen(config)))


def score(config: Config, query: Pooled, key: Pooled, scale: tuple[int, int]) -> NDArray[np.int64]:
    """Base-2 scores [queries, keys] of means: products of sums, times the reciprocals of both sizes and the scale.

    Rounded to nearest, ties up, and saturated to estimate_bits.
    """
    query_mantissa, query_exponent = reciprocal(query.size)
    key_mantissa, key_exponent = reciprocal(key.size)
    gain = (scale[0] * query_mantissa + (1 << RECIPROCAL_BITS - 2)) >> (RECIPROCAL_BITS - 1)
    product = multiply_rows(query.mantissa, key.mantissa.astype(np.float64)) * key_mantissa[None, :] * gain[:, None]
    left = scale[1] - (FACTOR_BITS - 1) + RECIPROCAL_BITS - 1 + config.estimate_fraction_bits
    left = left + (query.exponent - query_exponent)[:, None] + (key.exponent - key_exponent)[None, :]
    right = np.clip(-left, 0, 62)
    bound = 1 << (config.estimate_bits - 1)
    rounded = np.clip((product + (1 << right >> 1)) >> right, -bound, bound)
    return np.clip(rounded << np.clip(left, 0, config.estimate_bits), -bound, bound - 1)


def _least(config: Config) -> int:
    return -(1 << (config.estimate_bits - 1))


def _log_mass(
    config: Config, score: NDArray[np.int64], size: NDArray[np.int64], look: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """log2 [queries] of the masses of the keys that are looked at, summed up against a running integer maximum."""
    fraction = config.estimate_fraction_bits
    powers = mass_table(config)
    running = np.full(len(score), _least(config) >> fraction)
    total = np.zeros(len(score), np.int64)
    for n in range(score.shape[1]):
        on, each = look[:, n], score[:, n]
        raised = np.where(on, np.maximum(running, -(-each >> fraction)), running)
        distance = np.maximum((raised << fraction) - each, 0)
        mass = size[n] * powers[distance & ((1 << fraction) - 1)] >> np.minimum(distance >> fraction, 62)
        total = (total >> np.minimum(raised - running, 62)) + np.where(on, mass, 0)
        running = raised
    length = np.maximum(bit_length(total), 1)
    left_aligned = np.where(length > fraction, total >> np.maximum(length - 1 - fraction, 0), 0)
    short = total << np.maximum(fraction + 1 - length, 0)
    index = np.where(length > fraction, left_aligned, short) & ((1 << fraction) - 1)
    return (running + length - 1 - config.mass_bits << fraction) + log2_table(config)[index]
