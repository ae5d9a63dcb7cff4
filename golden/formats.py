"""The floating-point formats of the inputs: their fields, and conversion between values and bits."""

from __future__ import annotations

import dataclasses

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

_LOST = (1 << 29) - 1
"""The bits of a float64 that float32 lacks."""


@dataclasses.dataclass(frozen=True)
class FloatFormat:
    """A binary interchange format of 16 bits: sign, exponent_bits, fraction_bits (IEEE 754-2019, section 3.4)."""

    name: str
    exponent_bits: int
    fraction_bits: int
    dtype: DTypeLike

    @property
    def bits(self) -> int:
        """Bits of the whole number."""
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def bias(self) -> int:
        """Exponent field of the value 1."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def exponent_max(self) -> int:
        """Exponent field of infinities and NaNs."""
        return (1 << self.exponent_bits) - 1

    @property
    def significand_bits(self) -> int:
        """Bits of the significand, hidden bit included."""
        return self.fraction_bits + 1

    @property
    def nan(self) -> int:
        """The canonical quiet NaN."""
        return (self.exponent_max << self.fraction_bits) | (1 << (self.fraction_bits - 1))

    def encode(self, values: NDArray[np.floating]) -> NDArray[np.uint16]:
        """Values rounded to this format (nearest, ties to even), as bits of the same shape."""
        with np.errstate(over="ignore"):
            # Rounded to odd first: ml_dtypes rounds twice, by way of float32.
            exact = np.asarray(values, np.float64).view(np.int64)
            odd = ((exact | ((exact & _LOST) != 0) * (_LOST + 1)) & ~_LOST).view(np.float64)
            return odd.astype(self.dtype).view(np.uint16)

    def decode(self, bits: NDArray[np.uint16]) -> NDArray[np.float64]:
        """The values of bits, exactly."""
        with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones
            return np.ascontiguousarray(bits, dtype=np.uint16).view(self.dtype).astype(np.float64)


FP16 = FloatFormat("fp16", 5, 10, np.float16)
BF16 = FloatFormat("bf16", 8, 7, ml_dtypes.bfloat16)
FORMATS = {f.name: f for f in (FP16, BF16)}
