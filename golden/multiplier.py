"""The buffered LUT multiplier: one operand vector, held as tables, meets many vectors of 4-bit digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.config import DIGIT_MAX, DIGIT_MIN


def multiply(operand: NDArray[np.int64], digits: NDArray[np.int8]) -> NDArray[np.int64]:
    """The dot products of one pass: operand [..., n] with digits [..., readers, n] gives [..., readers].

    Every table style computes exactly this. The sums stay below 2**53, so the float64 matrix product, which is
    much faster than the integer one, is exact. Digits outside -8..7 raise ValueError.
    """
    if digits.size and (digits.min() < DIGIT_MIN or digits.max() > DIGIT_MAX):
        raise ValueError(f"digits span {digits.min()}..{digits.max()}: must be in {DIGIT_MIN}..{DIGIT_MAX}")
    return (digits.astype(np.float64) @ operand.astype(np.float64)[..., None])[..., 0].astype(np.int64)


def multiply_rows(operands: NDArray[np.int64], codes: NDArray[np.number]) -> NDArray[np.int64]:
    """Dot products of many operands [rows, n] with whole codes [readers, n], all passes at once: [rows, readers]."""
    return (operands.astype(np.float64) @ codes.astype(np.float64).T).astype(np.int64)
