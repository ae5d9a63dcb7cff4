"""Floating-point dot products, bit for bit: what the integer datapath is measured against.

FP16 in, FP32 out, as in the dot product units of GPUs (Fasi et al., PeerJ Computer Science 7:e330, 2021): a chain of
multiply-add, or all products aligned to the largest one and summed exactly. `to_float` is what an integer dot product
needs at its end.

Common to all: FP16 numbers below the normal range count as zero, FP16 infinities and NaNs raise ValueError, a result of
zero is +0, and rounding is to nearest, ties to even.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.formats import FP16

SMALLEST_NORMAL, LARGEST_FINITE = np.finfo(np.float32).tiny, np.finfo(np.float32).max
SMALLEST_BITS, LARGEST_BITS = SMALLEST_NORMAL.view(np.uint32), LARGEST_FINITE.view(np.uint32)
PRODUCT_BITS = 2 * FP16.significand_bits
KEEP_BITS_MAX = 40
INTEGER_MAX = 1 << 53
"""Integers up to here are float64 numbers."""


def multiply_add(a: NDArray[np.uint16], b: NDArray[np.uint16], c: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """c + a * b, rounded once: bits [...] of FP16 a and b, of FP32 c and result.

    c is zero or normal, else ValueError. No sum of such numbers lies outside the range of normal numbers: a product
    is a multiple of 2**-48 and less than 2**32.
    """
    magnitude = c & 0x7FFFFFFF
    if ((magnitude > LARGEST_BITS) | ((magnitude < SMALLEST_BITS) & (magnitude != 0))).any():
        raise ValueError("c: must be zero or normal FP32 numbers")
    # First in float64, where the product is exact, then in FP32. Rounding twice is harmless: if the sum is not exact in
    # float64, one of the two is less than an eighth of the other one's last place in FP32, and that is the result.
    return _bits(c.view(np.float32).astype(np.float64) + _values(a) * _values(b))


def fused_dot(a: NDArray[np.uint16], b: NDArray[np.uint16], keep_bits: int) -> NDArray[np.uint32]:
    """FP32 bits [...] of sum(a * b) over the last axis of the FP16 bits [..., n].

    The significands of the products, 22 bits below 4, are shifted right by the distance of their exponents (the sum of
    the factors' exponents) to the largest one among the products that are not zero. Of each, the first `keep_bits`
    bits count, and the rest is dropped: truncation towards zero. The sum is exact and rounded once.
    """
    if not 1 <= keep_bits <= KEEP_BITS_MAX:
        raise ValueError(f"keep_bits {keep_bits}: must be in 1..{KEEP_BITS_MAX}")
    values = _values(a), _values(b)
    fields, significands = zip(*(_split(factor) for factor in (a, b)), strict=True)
    live = (values[0] != 0) & (values[1] != 0)
    exponent = np.where(live, fields[0] + fields[1], 0)
    largest = exponent.max(axis=-1)
    product = np.where(live, significands[0] * significands[1], 0)
    kept = (product << keep_bits) >> np.minimum(PRODUCT_BITS + largest[..., None] - exponent, 63)
    total = np.where((a ^ b) >> (FP16.bits - 1) == 1, -kept, kept).sum(axis=-1)
    return to_float(total, largest - 2 * FP16.bias + 2 - keep_bits)


def to_float(integer: NDArray[np.int64], exponent: NDArray[np.int64]) -> NDArray[np.uint32]:
    """FP32 bits [...] of integer * 2**exponent, for integers of magnitude up to 2**53.

    Rounded as if exponents were unbounded; then what lies below the normal numbers becomes +0, and what lies above
    them an infinity.
    """
    if ((integer > INTEGER_MAX) | (integer < -INTEGER_MAX)).any():
        raise ValueError("integer: must be of magnitude up to 2**53")
    fraction, power = np.frexp(np.asarray(integer, np.float64))
    rounded = fraction.astype(np.float32).astype(np.float64)
    return _bits(np.ldexp(rounded, np.clip(power + exponent, -1000, 1000).astype(np.int64)))


def _values(bits: NDArray[np.uint16]) -> NDArray[np.float64]:
    """The values of FP16 numbers, subnormal ones flushed to zero."""
    values = FP16.decode(bits)
    if not np.isfinite(values).all():
        raise ValueError("FP16: must be finite")
    return np.where(np.abs(values) < 2.0 ** (1 - FP16.bias), 0.0, values)


def _split(bits: NDArray[np.uint16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Exponent field and significand of normal FP16 numbers."""
    word = bits.astype(np.int64)
    one = 1 << FP16.fraction_bits
    return (word >> FP16.fraction_bits) & FP16.exponent_max, one | (word & (one - 1))


def _bits(values: NDArray[np.float64]) -> NDArray[np.uint32]:
    """FP32 bits of values, rounded; below the normal numbers +0, above them an infinity."""
    magnitude = np.abs(values)
    values = np.where(magnitude < SMALLEST_NORMAL, 0.0, values)
    values = np.where(magnitude > LARGEST_FINITE, np.copysign(np.inf, values), values)
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32).view(np.uint32)
