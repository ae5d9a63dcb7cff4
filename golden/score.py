"""Scores: the integer sums of q . k become fixed-point base-2 logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.formats import FORMATS


def score(
    config: Config,
    key_sum: NDArray[np.int64],
    exponent: NDArray[np.int64],
    key_mantissa: NDArray[np.int64],
    key_exponent: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Scores [rows, keys] with score_fraction_bits fraction bits.

    `key_sum` [rows, keys] is the sum over the passes of dot << weight, `exponent` [rows] that of the aligned query;
    a key's scale is key_mantissa * 2**key_exponent, both [keys], and holds log2(e) / sqrt(head_dim):

        score = key_sum * key_mantissa * 2**(exponent - bias - (query_bits - 2) + key_exponent)

    rounded to nearest, ties up, saturated to score_bits.
    """
    form = FORMATS[config.float_format]
    product = key_sum * key_mantissa[None, :]
    left = exponent[:, None] - form.bias - (config.query_bits - 2) + key_exponent[None, :] + config.score_fraction_bits
    # A product has less than 48 bits, and a nonzero one shifted left by score_bits saturates: further shifts are alike.
    right = np.clip(-left, 0, 48)
    rounded = (product + (1 << right >> 1)) >> right
    bound = 1 << (config.score_bits - 1)
    limited = np.clip(rounded, -bound, bound)
    return np.clip(limited << np.clip(left, 0, config.score_bits), -bound, bound - 1)
