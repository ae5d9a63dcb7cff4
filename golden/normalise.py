"""Normalisation: the accumulated p . v divided by the accumulated p, as FP16."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.formats import FP16
from golden.tables import RECIPROCAL_INDEX_BITS, reciprocal_tables


def bit_length(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of bits of non-negative integers below 2**53; 0 of 0."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def leading(values: NDArray[np.int64], bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mantissa of `bits` bits (leading one set, rest truncated) and bit length of non-negative integers."""
    length = bit_length(values)
    return np.where(
        length >= bits, values >> np.maximum(length - bits, 0), values << np.maximum(bits - length, 0)
    ), length


def reciprocal(config: Config, mantissa: NDArray[np.int64]) -> NDArray[np.int64]:
    """2**(2 * reciprocal_bits - 1) / mantissa of mantissas with the leading one set, by linear interpolation."""
    tables = reciprocal_tables(config)
    fraction = mantissa - (1 << (config.reciprocal_bits - 1))
    index = np.clip(fraction >> tables.rest_bits, 0, (1 << RECIPROCAL_INDEX_BITS) - 1)
    rest = fraction & ((1 << tables.rest_bits) - 1)
    return tables.base[index] - (tables.slope[index] * rest >> tables.rest_bits)


def normalise(
    config: Config,
    output_sum: NDArray[np.int64],
    prob_total: NDArray[np.int64],
    output_exponent: int,
    invalid: NDArray[np.bool_],
) -> NDArray[np.uint16]:
    """FP16 bits [rows, head_dim] of output_sum / prob_total * 2**output_exponent.

    Rounded to nearest, ties to even, after both mantissas were cut to reciprocal_bits; overflow gives infinity,
    subnormal results are kept. A row without any probability (all its keys masked) gives +0, an invalid row NaN.
    """
    bits = config.reciprocal_bits
    total_mantissa, total_length = leading(prob_total, bits)
    sum_mantissa, sum_length = leading(np.abs(output_sum), bits)
    product = sum_mantissa * reciprocal(config, total_mantissa)[:, None]
    exponent = sum_length - total_length[:, None] + output_exponent
    # product * 2**(exponent - 2 * bits + 1), where product has 2 * bits bits or one less
    short = product < 1 << (2 * bits - 1)
    product = np.where(short, product << 1, product)
    field = exponent - short + FP16.bias
    drop = 2 * bits - FP16.significand_bits + np.clip(1 - field, 0, FP16.significand_bits + 1)
    kept, lost, half = product >> drop, product & ((1 << drop) - 1), 1 << (drop - 1)
    up = (lost > half) | ((lost == half) & (kept & 1 == 1))
    packed = (np.maximum(field - 1, 0) << FP16.fraction_bits) + kept + up
    packed = np.minimum(packed, FP16.exponent_max << FP16.fraction_bits)
    packed = packed | ((output_sum < 0).astype(np.int64) << (FP16.bits - 1))
    packed = np.where((output_sum == 0) | (prob_total == 0)[:, None], 0, packed)
    return np.where(invalid[:, None], FP16.nan, packed).astype(np.uint16)
