"""Pooling: the sum of the rows of a cell or tile stands for them all, as integers of few bits with one exponent."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.normalise import bit_length
from golden.tables import RECIPROCAL_BITS


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Sums of rows: sum = mantissa * 2**exponent, in units of the rows' common one."""

    mantissa: NDArray[np.int64]
    """[parts, head_dim], of pool_bits"""
    exponent: NDArray[np.int64]
    """[parts]"""
    size: NDArray[np.int64]
    """[parts], rows"""


def pool(config: Config, vectors: NDArray[np.int64], exponent: NDArray[np.int64], start: NDArray[np.int64]) -> Pooled:
    """Pool integer vectors [rows, head_dim] of units 2**exponent [rows] between successive starts [parts + 1].

    A sum is kept at the largest exponent so far: a row with a larger one first shifts the sum right, a row with a
    smaller one is shifted right itself, both rounded down. The whole sum is rounded to pool_bits, ties up.
    """
    size = np.diff(start)
    total = np.zeros((len(size), vectors.shape[1]), np.int64)
    running = exponent[start[:-1]].copy()
    for n in range(int(size.max())):
        parts = np.flatnonzero(size > n)
        row = start[:-1][parts] + n
        common = np.maximum(running[parts], exponent[row])
        total[parts] = _down(total[parts], common - running[parts]) + _down(vectors[row], common - exponent[row])
        running[parts] = common
    length = bit_length(np.abs(total).max(axis=1))
    shift = length - (config.pool_bits - 1)
    right, left = np.maximum(shift, 0)[:, None], np.maximum(-shift, 0)[:, None]
    most = (1 << (config.pool_bits - 1)) - 1
    mantissa = np.minimum((total + (1 << right >> 1)) >> right << left, most)
    return Pooled(mantissa, running + shift, size)


def _down(numbers: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
    return numbers >> np.minimum(shift, 62)[:, None]


def reciprocal(size: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mantissas of RECIPROCAL_BITS bits and exponents of 1 / size [...]: mantissa * 2**-exponent."""
    exponent = RECIPROCAL_BITS - 2 + bit_length(size)
    return ((1 << exponent) + (size >> 1)) // size, exponent
