"""Rotation: the Hadamard transform that spreads outliers over all channels, in integers.

"Incoherence processing" of QuaRot (NeurIPS 2024). A fast Walsh-Hadamard transform: log2(n) stages of n additions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from golden.config import Config


def rotate(config: Config, vectors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Vectors [..., head_dim] times a Sylvester-Hadamard matrix of ones and minus ones, block by block; exact.

    Applied twice it gives 2**rotation_stages times the vectors.
    """
    size = 1 << config.rotation_stages
    out = vectors.reshape(*vectors.shape[:-1], -1, size)
    step = 1
    while step < size:
        pairs = out.reshape(*out.shape[:-1], size // (2 * step), 2, step)
        even, odd = pairs[..., 0, :], pairs[..., 1, :]
        out = np.stack([even + odd, even - odd], axis=-2).reshape(out.shape)
        step *= 2
    return out.reshape(vectors.shape)


def rotate_centred(config: Config, vectors: NDArray[np.int64]) -> NDArray[np.int64]:
    """`rotate`, shifted right by rotation_shift and rounded to nearest, ties up: how keys and values are rotated."""
    shift = config.rotation_shift
    return (rotate(config, vectors) + (1 << shift >> 1)) >> shift
