"""Codes as strings of signed 4-bit digits, so that dropping digits rounds and one store serves every tier.

Digits that weigh 2**step as much as the next overlap where step < 4: a code has several spellings, and a digit may be
rounded either way, as the next ones make up for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.config import DIGIT_MAX, DIGIT_MIN, Config, Tier


def digits(config: Config, codes: NDArray[np.integer], step: int) -> NDArray[np.int8]:
    """The digits [config.digits, ...] in -8..7 of codes [...] that round each digit to nearest, ties up.

    code = sum(digit[i] * 2**(step * (config.digits - 1 - i))). What the leading digits leave out is in
    -2**(step - 1)..2**(step - 1) - 1 units of the next. Codes that cannot be written so raise ValueError.
    """
    rest = codes.astype(np.int64)
    out = np.empty((config.digits, *codes.shape), np.int8)
    half = 1 << (step - 1)
    for i in reversed(range(1, config.digits)):
        out[i] = ((rest + half) & ((1 << step) - 1)) - half
        rest = (rest - out[i]) >> step
    if rest.size and (rest.min() < DIGIT_MIN or rest.max() > DIGIT_MAX):
        raise ValueError(
            f"codes span {codes.min()}..{codes.max()}: the first of {config.digits} digits must be in"
            f" {DIGIT_MIN}..{DIGIT_MAX}"
        )
    out[0] = rest
    return out


def seen(config: Config, digits: NDArray[np.int8], step: int) -> dict[Tier, NDArray[np.float64]]:
    """The codes [...] that every tier reads of digits [config.digits, ...]: the first ones, the others as zero."""
    weights = np.array(config.digit_weights(step), np.float64)
    partial = np.cumsum(digits * weights.reshape(-1, *[1] * (digits.ndim - 1)), axis=0)
    return {tier: partial[config.digits_read(tier) - 1] for tier in Tier}
