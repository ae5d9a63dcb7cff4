"""Floating-point formats, block alignment and sums in PyTorch: what golden.formats and align define, written again.

Numbers of a format are float64 tensors that hold nothing else; integers are int64 tensors, or float64 ones below
2**53 where they are multiplied: exact on any device, in any order.
"""

from __future__ import annotations

import importlib
import math
from typing import Any, TypeAlias

torch: Any = importlib.import_module("torch")  # of the extra `capture`; nothing else of ours needs it
Tensor: TypeAlias = Any

FLOATS = {"fp16": (11, 15), "bf16": (8, 127)}
"""Significand bits and bias of each format; the bias is also the exponent of the largest number."""
MOST_SHIFT = 62
"""From here on all bits of a number are shifted out."""


def power(exponent: Tensor) -> Tensor:
    """2**exponent of integers in -1022..1023, exactly; libraries may round, or compute it in float32."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)


def exponent_of(x: Tensor) -> Tensor:
    """floor(log2(|x|)) of numbers that are not zero, as integers; -1 of zero."""
    return torch.frexp(x).exponent.long() - 1


def bit_length(x: Tensor) -> Tensor:
    """Number of bits of non-negative integers below 2**53; 0 of 0."""
    return torch.frexp(x.double()).exponent.long()


def shifted(x: Tensor, right: Tensor) -> Tensor:
    """Integers shifted right by 0..62 bits and rounded to nearest, ties up."""
    return (x + (1 << right >> 1)) >> right


def rounded(x: Tensor, form: str) -> Tensor:
    """x rounded to a format (nearest, ties to even), in one rounding: PyTorch's casts go through float32."""
    significand, bias = FLOATS[form]
    finite = torch.where(torch.isfinite(x), x, 0)
    unit = power(torch.where(finite == 0, 1 - bias, exponent_of(finite)).clamp(min=1 - bias) - (significand - 1))
    near = torch.round(finite / unit) * unit
    near = torch.where(near.abs() < 2.0 ** (bias + 1), near, torch.copysign(torch.full_like(x, math.inf), x))
    return torch.where(torch.isfinite(x), near, x)


def finite_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [..., channels], those that are not finite as zeros, and which are finite [..., 1]."""
    finite = torch.isfinite(x).all(dim=-1, keepdim=True)
    return torch.where(finite, x, 0), finite


def align_to(form: str, x: Tensor, bits: int, exponent: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mantissas [..., channels] of `bits` bits and biased exponents [...] of finite numbers of a format.

    The exponent is the largest of the vector, or `exponent` [...] where that is given and not smaller.
    """
    bias = FLOATS[form][1]
    largest = x.abs().amax(dim=-1)
    own = torch.where(largest == 0, 1, exponent_of(largest) + bias).clamp(min=1)
    shared = own if exponent is None else exponent
    magnitude = torch.floor(x.abs() * power(bias + bits - 2 - shared)[..., None] + 0.5)
    return torch.copysign(magnitude.clamp(max=(1 << (bits - 1)) - 1), x).long(), shared


def raises(level: Tensor) -> tuple[Tensor, Tensor]:
    """Where levels [batch, n] that only rise are equal: the last place, and the rise before, of each run [batch, runs].

    Batches with fewer runs than others repeat their last place, with a rise of zero.
    """
    run = torch.nn.functional.pad((level.diff(dim=1) > 0).long().cumsum(dim=1), (1, 0))
    runs = torch.arange(int(run[:, -1].max()) + 1, device=level.device).expand(len(level), -1)
    last = torch.searchsorted(run, runs.contiguous(), right=True) - 1
    found = level.gather(1, last)
    return last, found.diff(dim=1, prepend=found[:, :1]).clamp(max=MOST_SHIFT)


def accumulate(x: Tensor, level: Tensor) -> Tensor:
    """Sums [batch, channels] of integers x [batch, n, channels] in order, shifted right where the level rises.

    Between two rises nothing is shifted, and sums of integers have no order.
    """
    last, rise = raises(level)
    sums = x.cumsum(dim=1).gather(1, last[..., None].expand(-1, -1, x.shape[2]))
    sums = sums.diff(dim=1, prepend=torch.zeros_like(sums[:, :1]))
    total = sums[:, 0]
    for n in range(1, last.shape[1]):
        total = (total >> rise[:, n, None]) + sums[:, n]
    return total
