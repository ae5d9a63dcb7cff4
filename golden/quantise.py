"""Quantisation: keys and values become strings of digits with one scale a token.

A tier reads the first digits of a code, so each digit is a rounding of its own. Values are rounded to nearest: their
errors meet probabilities, and average out. Errors of keys meet queries, which are far from isotropic: keys are rounded
channel by channel with feedback, so that the error falls where the queries of the head do not look: noise shaping, as
"LDLQ" of QuIP (NeurIPS 2023, section 4.1) and GPTQ (ICLR 2023) do it to weights; here queries give the moments.

Memory: the feedback, head_dim * (head_dim - 1) / 2 numbers of a head, and the errors of the token at work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.config import DIGIT_MAX, DIGIT_MIN, Config
from golden.digits import digits

FEEDBACK_BITS = 8
"""Fraction bits of the feedback matrix."""
ERROR_BITS = 12
"""Fraction bits, of a unit of the last digit, to which keys are rounded before any digit is."""
DAMPING = 0.01
"""Of the mean moment, added to every channel's: what keeps feedback finite where queries have no energy."""


def scales(
    config: Config, vectors: NDArray[np.float64], step: int, least: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mantissas (scale_bits bits, leading one set) and exponents, both [tokens], for vectors [tokens, head_dim].

    mantissa * 2**exponent is the largest magnitude over config.code_max(step), rounded up, so that no code clips. The
    exponent is at least `least`: a vector too small for it, or of zeros, gets the least scale.
    """
    scale = np.abs(vectors).max(axis=1) / config.code_max(step)
    half = 1 << (config.scale_bits - 1)
    fraction, exponent = np.frexp(np.maximum(scale, np.ldexp(half, least)))
    mantissa = np.ceil(fraction * (2 * half)).astype(np.int64)
    exponent = exponent.astype(np.int64) - config.scale_bits
    over = mantissa == 2 * half
    return np.where(over, half, mantissa), exponent + over


def scaled(
    vectors: NDArray[np.float64], mantissa: NDArray[np.int64], exponent: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Vectors [tokens, head_dim] in units of their scales mantissa * 2**exponent, both [tokens]."""
    return vectors / np.ldexp(mantissa.astype(np.float64), exponent)[:, None]


def nearest(config: Config, values: NDArray[np.float64], step: int) -> NDArray[np.int8]:
    """Digits [config.digits, tokens, head_dim] of values in units of their scale, each digit rounded to nearest.

    The digits of the nearest code would round the first one's ties up, by half a code unit on average, and over many
    values such a bias adds up where noise averages out. So the first digit is rounded by itself and the others
    clip to what they can write; the mean of what clipping takes is given back, so that the bias vanishes at LUT4
    and at FULL. It costs a few percent of the error of two digits; three then err by 1.1 units, not 0.3.
    """
    weight, *rest_weights = config.digit_weights(step)
    ones = sum(rest_weights)
    most = ((1 << (step - 1)) - 1) * ones
    lost = max(0.0, weight / 2 - most) ** 2 / (2 * weight)  # by clipping, on average over a uniform rest
    lead = np.clip(np.rint(values / weight), -DIGIT_MAX, DIGIT_MAX)
    rest = np.clip(np.rint(values - lead * weight + lost), -(1 << (step - 1)) * ones, most)
    return digits(config, (lead * weight + rest).astype(np.int64), step)


def feedback(config: Config, query: NDArray[np.float64]) -> NDArray[np.int64]:
    """Feedback [head_dim, head_dim] for keys that meet the queries [rows, head_dim]; FEEDBACK_BITS fraction bits.

    With the second moments of the queries factored as U.T @ D @ U, U unit upper triangular and D diagonal, the
    squared error of all scores of a key error e is sum(D * (U @ e)**2); the feedback is U without its diagonal.
    Rounding channels from the last to the first with it leaves only half a unit of U @ e in each.
    2 * rows * head_dim**2 / 2 operations; rows that are not finite do not count.
    """
    size = query.shape[1]
    if not config.shape_keys:
        return np.zeros((size, size), np.int64)
    finite = query[np.isfinite(query).all(axis=1)]
    moments = finite.T @ finite
    mean = np.trace(moments) / size
    moments += np.eye(size) * (DAMPING * mean if mean > 0 else 1.0)
    upper = np.linalg.cholesky(moments).T
    unit = upper / np.diag(upper)[:, None]
    return np.rint(np.ldexp(np.triu(unit, 1), FEEDBACK_BITS)).astype(np.int64)


def shaped(config: Config, keys: NDArray[np.float64], feedback: NDArray[np.int64], step: int) -> NDArray[np.int8]:
    """Digits [config.digits, tokens, head_dim] of keys in units of their scale, rounded with feedback.

    Digit by digit, what the ones before left out is rounded, channels from the last to the first: the channel, plus
    the errors of later ones times the feedback, to nearest, but only so far as the digits after it, at most DIGIT_MAX,
    make up for. Where digits do not overlap (step 4) that is not always enough for the nearest, and two digits err by
    up to 2 units. head_dim**2 / 2 operations for a digit of a token. Integer arithmetic throughout.
    """
    rest = np.rint(np.ldexp(keys, ERROR_BITS)).astype(np.int64)
    weights = config.digit_weights(step)
    out = np.empty((config.digits, *keys.shape), np.int8)
    for i, weight in enumerate(weights):
        unit = weight << ERROR_BITS
        reach = DIGIT_MAX * sum(weights[i + 1 :]) << ERROR_BITS  # what the digits after this one can make up for
        error = np.zeros(keys.shape, np.float64)  # of integers below 2**53: exact, and fast to multiply
        for channel in reversed(range(keys.shape[1])):
            target = rest[:, channel]
            pushed = (error[:, channel + 1 :] @ feedback[channel, channel + 1 :]).astype(np.int64) >> FEEDBACK_BITS
            least, most = (-((reach - target) // unit), (target + reach) // unit) if reach else (DIGIT_MIN, DIGIT_MAX)
            digit = np.clip((target + pushed + unit // 2) // unit, least, most).clip(DIGIT_MIN, DIGIT_MAX)
            out[i, :, channel] = digit
            error[:, channel] = target - digit * unit
        rest = error.astype(np.int64)
    return out
