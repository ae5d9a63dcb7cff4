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
from golden.normalise import bit_length
from golden.tables import CODE_FRACTION_BITS, FACTOR_BITS, INVERSE_BITS, ONE

FEEDBACK_BITS = 8
"""Fraction bits of the feedback matrix."""
DAMPING = 0.01
"""Of the mean moment, added to every channel's: what keeps feedback finite where queries have no energy."""

MOST_SHIFT = 62
"""From here on all bits of a number are shifted out."""


def scales(
    config: Config, largest: NDArray[np.int64], factor: int, step: int, least: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mantissas (scale_bits bits, leading one set) and exponents, both [tokens], for vectors of largest magnitudes.

    mantissa * 2**exponent is largest * factor / ONE over config.code_max(step), rounded up, so that no code clips. The
    exponent is at least `least`: a vector too small for it, or of zeros, gets the least scale.
    """
    half = 1 << (config.scale_bits - 1)
    product = largest * factor * -(-(1 << INVERSE_BITS) // config.code_max(step))
    shift = np.maximum(bit_length(product) - config.scale_bits, 0)
    mantissa = -(-product >> shift)
    over = mantissa == 2 * half
    exponent = shift + over - INVERSE_BITS - (FACTOR_BITS - 1)
    small = (product == 0) | (exponent < least)
    return np.where(small | over, half, mantissa), np.where(small, least, exponent)


def scaled(
    config: Config, vectors: NDArray[np.int64], factor: int, mantissa: NDArray[np.int64], exponent: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Vectors [tokens, head_dim] times factor / ONE in units of their scales, CODE_FRACTION_BITS fraction bits.

    What is multiplied is the inverse of the scale's mantissa, a table of 2**(scale_bits - 1) entries.
    """
    inverse_bits = config.scale_bits + FACTOR_BITS - 2
    inverse = ((1 << inverse_bits) + (mantissa >> 1)) // mantissa
    gain = (factor * inverse + (ONE >> 1)) >> (FACTOR_BITS - 1)
    shift = np.clip(inverse_bits + exponent - CODE_FRACTION_BITS, 0, MOST_SHIFT)[:, None]
    return (vectors * gain[:, None] + (1 << shift >> 1)) >> shift


def nearest(config: Config, units: NDArray[np.int64], step: int) -> NDArray[np.int8]:
    """Digits [config.digits, tokens, head_dim] of numbers in units of their scale, each digit rounded to nearest.

    Each digit rounds what the ones before left out, ties up, and saturates. Where digits do not overlap (step 4) a rest
    of more than DIGIT_MAX of all later digits clips; over many values such a bias adds up where noise averages out, so
    the mean of what clipping takes is given back: see `returned`. Three digits then err by 1.1 units, not 0.3.
    """
    rest = units
    out = np.empty((config.digits, *units.shape), np.int8)
    for i, weight in enumerate(config.digit_weights(step)):
        unit = weight << CODE_FRACTION_BITS
        least = DIGIT_MIN if i else -DIGIT_MAX  # as far down as up, so that scales know one bound
        out[i] = np.clip((rest + (unit >> 1)) // unit, least, DIGIT_MAX)
        rest = rest - out[i].astype(np.int64) * unit + (0 if i else returned(config, step))
    return out


def returned(config: Config, step: int) -> int:
    """What clipping takes on average of a rest that is anywhere in the first digit's weight; CODE_FRACTION_BITS."""
    weight, *rest_weights = config.digit_weights(step)
    beyond = max(0.0, weight / 2 - DIGIT_MAX * sum(rest_weights))
    return round(beyond**2 / (2 * weight) * (1 << CODE_FRACTION_BITS))


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


def shaped(config: Config, units: NDArray[np.int64], feedback: NDArray[np.int64], step: int) -> NDArray[np.int8]:
    """Digits [config.digits, tokens, head_dim] of keys in units of their scale, rounded with feedback.

    Digit by digit, what the ones before left out is rounded, channels from the last to the first: the channel, plus
    the errors of later ones times the feedback, to nearest, but only so far as the digits after it, at most DIGIT_MAX,
    make up for. Where digits do not overlap (step 4) that is not always enough for the nearest, and two digits err by
    up to 2 units. head_dim**2 / 2 operations for a digit of a token. Integer arithmetic throughout.
    """
    rest = units
    weights = config.digit_weights(step)
    out = np.empty((config.digits, *units.shape), np.int8)
    for i, weight in enumerate(weights):
        unit = weight << CODE_FRACTION_BITS
        reach = DIGIT_MAX * sum(weights[i + 1 :]) << CODE_FRACTION_BITS  # what later digits can make up for
        error = np.zeros(units.shape, np.float64)  # of integers below 2**53: exact, and fast to multiply
        for channel in reversed(range(units.shape[1])):
            target = rest[:, channel]
            pushed = (error[:, channel + 1 :] @ feedback[channel, channel + 1 :]).astype(np.int64) >> FEEDBACK_BITS
            least, most = (-((reach - target) // unit), (target + reach) // unit) if reach else (DIGIT_MIN, DIGIT_MAX)
            digit = np.clip((target + pushed + unit // 2) // unit, least, most).clip(DIGIT_MIN, DIGIT_MAX)
            out[i, :, channel] = digit
            error[:, channel] = target - digit * unit
        rest = error.astype(np.int64)
    return out
