"""Block alignment: a floating-point vector becomes integers that share one exponent.

Dot products of aligned vectors are exact integer arithmetic with a single normalisation at the end
(FIGNA, HPCA 2024, section 4).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.formats import FORMATS


@dataclasses.dataclass(frozen=True)
class Aligned:
    """Vectors of `head_dim` mantissas: value = mantissa * 2**(exponent - bias - (query_bits - 2))."""

    mantissa: NDArray[np.int64]
    """[..., head_dim], magnitude at most query_max"""
    exponent: NDArray[np.int64]
    """[...], biased as in the input format, at least 1"""
    invalid: NDArray[np.bool_]
    """[...], true where the vector holds an infinity or a NaN; its mantissas then mean nothing"""


def align(config: Config, bits: NDArray[np.uint16]) -> Aligned:
    """Align vectors of `config.float_format` numbers, given as bits of shape [..., head_dim].

    The shared exponent is the largest of the vector. Each significand is shifted right by its distance to it and
    rounded to nearest, ties away from zero; a magnitude that rounds beyond query_max saturates. Subnormal numbers
    are exact: they have the exponent 1 and no hidden bit.
    """
    form = FORMATS[config.float_format]
    word = bits.astype(np.int64)
    field = (word >> form.fraction_bits) & form.exponent_max
    significand = (word & ((1 << form.fraction_bits) - 1)) | ((field > 0).astype(np.int64) << form.fraction_bits)
    own = np.maximum(field, 1)
    exponent = own.max(axis=-1)
    # The largest significand fills query_bits - 1 bits; one guard bit below decides the rounding.
    guard = config.query_bits - 1 - form.significand_bits + 1
    distance = np.minimum(exponent[..., None] - own, config.query_bits + 1)
    shifted = (significand << guard >> distance) if guard >= 0 else (significand >> np.minimum(distance - guard, 62))
    magnitude = np.minimum((shifted + 1) >> 1, config.query_max)
    sign = word >> (form.bits - 1)
    return Aligned(
        mantissa=np.where(sign == 1, -magnitude, magnitude),
        exponent=exponent,
        invalid=(field == form.exponent_max).any(axis=-1),
    )
