"""Restoring: rows of the core's output are rotated back, and get the value mean that preparation subtracted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.align import align_to
from golden.config import Config
from golden.formats import FORMATS, FP16
from golden.rotate import rotate
from golden.statistics import Statistics
from golden.tables import MEAN_FRACTION_BITS


def restore_rows(config: Config, output: NDArray[np.uint16], values: Statistics) -> NDArray[np.uint16]:
    """FP16 bits [rows, head_dim] of output rows, FP16 bits too; `values` are the statistics of the head's values.

    A row is aligned to input_bits, rotated, and added to the mean in units of its own or of 2**-MEAN_FRACTION_BITS of
    the mean's, whichever is larger; each is rounded to nearest, ties up, the sum to FP16, ties to even. A row that is
    not finite gives NaNs.
    """
    form = FORMATS[config.float_format]
    aligned = align_to(FP16, output, config.input_bits)
    row_power = aligned.exponent - FP16.bias - (config.input_bits - 2) + config.rotation_shift - config.rotation_stages
    mean_power = values.exponent - form.bias - (config.input_bits - 2)
    power = np.maximum(row_power, mean_power - MEAN_FRACTION_BITS)[:, None]
    row = _shifted(rotate(config, aligned.mantissa), row_power[:, None] - power)
    mean = _shifted(values.mean[None, :], mean_power - power)
    found = FP16.encode(np.ldexp((row + mean).astype(np.float64), power))
    return np.where(aligned.invalid[:, None], FP16.nan, found).astype(np.uint16)


def _shifted(numbers: NDArray[np.int64], left: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers shifted left, or right and rounded to nearest, ties up."""
    right = np.clip(-left, 0, 62)
    return np.where(left >= 0, numbers << np.maximum(left, 0), (numbers + (1 << right >> 1)) >> right)
