"""Block alignment: a floating-point vector becomes integers that share one exponent.

Dot products of aligned vectors are exact integer arithmetic with a single normalisation at the end
(FIGNA, HPCA 2024, section 4).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.formats import FORMATS, FloatFormat


@dataclasses.dataclass(frozen=True)
class Aligned:
    """Vectors of mantissas of `bits` bits: value = mantissa * 2**(exponent - bias - (bits - 2))."""

    mantissa: NDArray[np.int64]
    """[..., channels], magnitude at most 2**(bits - 1) - 1"""
    exponent: NDArray[np.int64]
    """[...], biased as in the input format, at least 1"""
    invalid: NDArray[np.bool_]
    """[...], true where the vector holds an infinity or a NaN; its mantissas then mean nothing"""


def align(config: Config, words: NDArray[np.uint16]) -> Aligned:
    """Align query rows [..., head_dim] of `config.float_format` to config.query_bits: see `align_to`."""
    return align_to(FORMATS[config.float_format], words, config.query_bits)


def align_to(
    form: FloatFormat, words: NDArray[np.uint16], bits: int, exponent: NDArray[np.int64] | None = None
) -> Aligned:
    """Align vectors of numbers, given as words [..., channels] of a format, to mantissas of `bits` bits.

    The shared exponent is the largest of the vector, or `exponent` [...] where that is given and not smaller. Each
    significand is shifted right by its distance to it and rounded to nearest, ties away from zero; a magnitude that
    rounds beyond the largest saturates. Subnormal numbers are exact: they have the exponent 1 and no hidden bit.
    """
    word = words.astype(np.int64)
    field = (word >> form.fraction_bits) & form.exponent_max
    significand = (word & ((1 << form.fraction_bits) - 1)) | ((field > 0).astype(np.int64) << form.fraction_bits)
    own = np.maximum(field, 1)
    shared = own.max(axis=-1) if exponent is None else np.asarray(exponent)
    # The largest significand fills bits - 1 bits; one guard bit below decides the rounding.
    guard = bits - 1 - form.significand_bits + 1
    distance = np.minimum(shared[..., None] - own, bits + 1)
    shifted = (significand << guard >> distance) if guard >= 0 else (significand >> np.minimum(distance - guard, 62))
    magnitude = np.minimum((shifted + 1) >> 1, (1 << (bits - 1)) - 1)
    sign = word >> (form.bits - 1)
    return Aligned(
        mantissa=np.where(sign == 1, -magnitude, magnitude),
        exponent=shared,
        invalid=(field == form.exponent_max).any(axis=-1),
    )
