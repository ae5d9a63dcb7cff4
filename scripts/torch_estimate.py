"""Pooling and estimates in PyTorch: what golden.pool and estimate define, written again, with equal results."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.tables import FACTOR_BITS, RECIPROCAL_BITS, log2_table, mass_table
from scripts.torch_align import MOST_SHIFT, Tensor, accumulate, bit_length, shifted, torch


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Sums of rows: sum = mantissa * 2**exponent, in units of the rows' common one."""

    mantissa: Tensor
    """[parts, channels]"""
    exponent: Tensor
    """[parts]"""
    size: Tensor
    """[parts], rows"""

    def cut(self, part: slice) -> Pooled:
        """Some of the parts."""
        return Pooled(self.mantissa[part], self.exponent[part], self.size[part])


def places(start: NDArray[np.int64], device: object) -> tuple[Tensor, Tensor]:
    """Places [parts, most] of the parts between successive starts [parts + 1], and which are real.

    Parts with fewer places than the largest repeat their last one.
    """
    index = start[:-1, None] + np.arange(np.diff(start).max())
    last = start[1:, None] - 1
    return torch.as_tensor(np.minimum(index, last), device=device), torch.as_tensor(index <= last, device=device)


def largest(x: Tensor, start: NDArray[np.int64], dim: int) -> Tensor:
    """The largest of x between successive starts [parts + 1] of a dimension."""
    index, _ = places(start, x.device)
    return x.index_select(dim, index.reshape(-1)).unflatten(dim, index.shape).amax(dim=dim + 1)


def pool(config: Config, vectors: Tensor, exponent: Tensor, start: NDArray[np.int64]) -> Pooled:
    """Pool integer vectors [rows, channels] of units 2**exponent [rows] between successive starts [parts + 1]."""
    index, real = places(start, vectors.device)
    own = exponent[index]
    level = own.cummax(dim=1).values
    down = vectors[index] >> (level - own).clamp(max=MOST_SHIFT)[..., None]
    total = accumulate(torch.where(real[..., None], down, 0), level)
    shift = bit_length(total.abs().amax(dim=1)) - (config.pool_bits - 1)
    near = shifted(total, shift.clamp(min=0)[:, None]) << (-shift).clamp(min=0)[:, None]
    return Pooled(near.clamp(max=(1 << (config.pool_bits - 1)) - 1), level[:, -1] + shift, real.sum(dim=1))


def reciprocal(size: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissas of RECIPROCAL_BITS bits and exponents of 1 / size [...]: mantissa * 2**-exponent."""
    exponent = RECIPROCAL_BITS - 2 + bit_length(size)
    return ((1 << exponent) + (size >> 1)) // size, exponent


def estimate(
    config: Config,
    query: Pooled,
    key: Pooled,
    scale: tuple[int, Tensor],
    part_start: NDArray[np.int64],
    inside: Tensor | None = None,
) -> Tensor:
    """Ranks [queries, parts] of parts between part_start [parts + 1]: log2 of the largest probability of a key.

    `scale` is the mantissa, of FACTOR_BITS, and the exponent of what turns a product of vectors in their units into a
    base-2 score. Only keys `inside` [queries, keys] are looked at.
    """
    least = -(1 << (config.estimate_bits - 1))
    scores = score(config, query, key, scale)
    if inside is not None:
        scores = torch.where(inside, scores, least - 1)  # below all others: not looked at
    top = largest(scores, part_start, 1)
    rank = top - _log_mass(config, scores, key.size, least)[:, None]
    return torch.where(top >= least, rank.clamp(min=unseen(config)), unseen(config))


def unseen(config: Config) -> int:
    """The rank of a part without any key that was looked at: the least."""
    return -(1 << (config.rank_bits - 1))


def score(config: Config, query: Pooled, key: Pooled, scale: tuple[int, Tensor]) -> Tensor:
    """Base-2 scores [queries, keys] of means, with estimate_fraction_bits fraction bits."""
    query_mantissa, query_exponent = reciprocal(query.size)
    key_mantissa, key_exponent = reciprocal(key.size)
    gain = (scale[0] * query_mantissa + (1 << RECIPROCAL_BITS - 2)) >> (RECIPROCAL_BITS - 1)
    product = (query.mantissa.double() @ key.mantissa.double().mT).long() * key_mantissa * gain[:, None]
    left = scale[1] - (FACTOR_BITS - 1) + RECIPROCAL_BITS - 1 + config.estimate_fraction_bits
    left = (left + query.exponent - query_exponent)[:, None] + (key.exponent - key_exponent)
    bound = 1 << (config.estimate_bits - 1)
    near = shifted(product, (-left).clamp(0, MOST_SHIFT)).clamp(-bound, bound)
    return (near << left.clamp(0, config.estimate_bits)).clamp(-bound, bound - 1)


def _log_mass(config: Config, score: Tensor, size: Tensor, least: int) -> Tensor:
    """log2 [queries] of the masses of the keys of at least the least score, against a running integer maximum."""
    fraction = config.estimate_fraction_bits
    low = (1 << fraction) - 1
    powers, logarithms = (torch.as_tensor(table(config), device=score.device) for table in (mass_table, log2_table))
    look = score >= least
    level = torch.where(look, -(-score >> fraction), least >> fraction).cummax(dim=1).values
    distance = ((level << fraction) - score).clamp(min=0)
    mass = size * powers[distance & low] >> (distance >> fraction).clamp(max=MOST_SHIFT)
    total = accumulate(torch.where(look, mass, 0)[..., None], level)[:, 0]
    length = bit_length(total).clamp(min=1)
    leading = torch.where(
        length > fraction,
        total >> (length - 1 - fraction).clamp(min=0),
        total << (fraction + 1 - length).clamp(min=0),
    )
    return ((level[:, -1] + length - 1 - config.mass_bits) << fraction) + logarithms[leading & low]
