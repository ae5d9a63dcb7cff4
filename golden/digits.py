"""Codes as strings of balanced base-16 digits, so that dropping digits rounds and one store serves every tier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.config import DIGIT_BITS, DIGIT_MAX, DIGIT_MIN, Config


def digits(config: Config, codes: NDArray[np.integer]) -> NDArray[np.int8]:
    """Digits in -8..7 [config.digits, ...] of codes [...], most significant first.

    code = sum(digit[i] * 16**(config.digits - 1 - i)). What the leading digits leave out is the balanced rest, in -8..7
    units of the next digit. Codes that config.digits digits cannot write raise ValueError.
    """
    radix = 1 << DIGIT_BITS
    weights = sum(radix**i for i in range(config.digits))
    if codes.size and (codes.min() < DIGIT_MIN * weights or codes.max() > DIGIT_MAX * weights):
        raise ValueError(
            f"codes span {codes.min()}..{codes.max()}: must be in {DIGIT_MIN * weights}..{DIGIT_MAX * weights}"
        )
    rest = codes.astype(np.int64)
    out = np.empty((config.digits, *codes.shape), np.int8)
    for i in reversed(range(config.digits)):
        out[i] = ((rest - DIGIT_MIN) & (radix - 1)) + DIGIT_MIN
        rest = (rest - out[i]) >> DIGIT_BITS
    return out


def codes_of(config: Config, digits: NDArray[np.int8]) -> NDArray[np.int16]:
    """Codes [...] of digits [config.digits, ...]: the inverse of `digits`."""
    codes = np.zeros(digits.shape[1:], np.int64)
    for digit in digits:
        codes = (codes << DIGIT_BITS) + digit
    return codes.astype(np.int16)
