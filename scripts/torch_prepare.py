"""Preparation in PyTorch: what golden.prepare, quantise and align define, written again and for all heads of a layer.

Everything is float64, and what golden computes with integers stays below 2**53: exact on any device, in any order.
Other sums (means, rotations, moments) may differ from NumPy's in the last bit. The digits can differ only where such
a sum, in units of its token's scale, lies within that bit of a tie of rounding: one in 10**10 values at random, none
where the inputs have few bits, as float16 has, and the sums are exact.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from typing import Any, TypeAlias

from golden.config import DIGIT_MAX, DIGIT_MIN, Config
from golden.tiles import Tiles

torch: Any = importlib.import_module("torch")  # of the extra `capture`; nothing else of ours needs it
Tensor: TypeAlias = Any

FLOATS = {"fp16": (11, -14, 15), "bf16": (8, -126, 127)}
"""Significand bits, and the exponents of the smallest and the largest normal number."""
CHANNEL_STEP = 8
FEEDBACK_BITS, ERROR_BITS, DAMPING = 8, 12, 0.01


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The heads of a layer as the core sees them; tokens in tile order, channels up to config.head_dim."""

    query: Tensor
    """[heads, rows, channels], rotated, before any rounding"""
    key: Tensor
    """[heads, tokens, channels], centred, rotated and scaled: query . key is the base-2 score"""
    value: Tensor
    """[heads, tokens, channels], centred and rotated"""
    value_mean: Tensor
    """[heads, 1, head_dim]"""
    rotation: Tensor
    """[channels, channels]"""
    mantissa: Tensor
    """[heads, rows, channels], integers: the aligned queries"""
    query_scale: Tensor
    """[heads, rows], powers of two; query = mantissa * query_scale"""
    key_digits: Tensor
    """[digits, heads, tokens, channels], integers, most significant first"""
    key_scale: Tensor
    """[heads, tokens]"""
    value_digits: Tensor
    """[digits, heads, tokens, channels]"""
    value_scale: Tensor
    """[heads, tokens], in units of 2**output_exponent: below 1"""
    output_exponent: Tensor
    """[heads], integers"""

    def restore(self, output: Tensor) -> Tensor:
        """Outputs [heads, rows, channels] as the heads': [heads, rows, head_dim]."""
        return (output @ self.rotation)[..., : self.value_mean.shape[-1]] + self.value_mean


def prepare(config: Config, q: Tensor, k: Tensor, v: Tensor, rows: Tiles, columns: Tiles) -> Prepared:
    """Prepare q, k and v [heads, tokens, head_dim], all tokens in original order; refuses what golden.prepare does."""
    head_dim = q.shape[-1]
    if head_dim > config.head_dim or head_dim % CHANNEL_STEP:
        raise ValueError(
            f"head_dim = {head_dim}: must be a multiple of {CHANNEL_STEP}, at most config.head_dim = {config.head_dim}"
        )
    for name, x in (("k", k), ("v", v)):
        if not torch.isfinite(x).all():
            raise ValueError(f"{name} holds an infinity or a NaN: must be finite")
    rotation = hadamard(config, q.device)
    q, k, v = (x.to(torch.float64) for x in (q, k, v))
    value_mean = v.mean(dim=1, keepdim=True)

    def rotated(x: Tensor, tiles: Tiles) -> Tensor:
        order = torch.as_tensor(tiles.order, device=x.device)
        return torch.nn.functional.pad(x[:, order], (0, config.head_dim - head_dim)) @ rotation

    query = rotated(q, rows)
    key = rotated(k - k.mean(dim=1, keepdim=True), columns) * (math.log2(math.e) / math.sqrt(head_dim))
    value = rotated(v - value_mean, columns)
    for name, x, form in (("q", query, config.float_format), ("v", value, "fp16")):
        known = torch.where(torch.isfinite(x).all(dim=2, keepdim=True), x, 0)
        if not torch.isfinite(rounded(known, form)).all():
            raise ValueError(f"{name} reaches {float(known.abs().max()):.3g} after rotation: beyond {form}")

    mantissa, query_scale = align(config, rounded(query, config.float_format))
    step = config.key_digit_step
    lowest = torch.full((len(q), 1), -(1 << (config.key_exponent_bits - 1)), device=q.device)
    key_mantissa, key_exponent = scales(config, key, step, lowest)
    key_scale = key_mantissa * power(key_exponent)
    key_digits = shaped(config, key / key_scale[..., None], feedback(config, query), step)

    # The largest scale of a head decides its output exponent; smaller ones are shifted right, as far as the field goes.
    step = config.value_digit_step
    lowest = torch.full((len(q), 1), -(1 << (config.output_exponent_bits - 1)) - config.scale_bits, device=q.device)
    _, exponent = scales(config, value, step, lowest)
    largest = exponent.amax(dim=1, keepdim=True)
    value_mantissa, exponent = scales(config, value, step, largest - (1 << config.value_exponent_bits) + 1)
    return Prepared(
        query, key, value, value_mean, rotation, mantissa, query_scale, key_digits, key_scale,
        value_digits=nearest(config, value / (value_mantissa * power(exponent))[..., None], step),
        value_scale=value_mantissa * power(exponent - largest - config.scale_bits),
        output_exponent=largest[:, 0] + config.scale_bits,
    )  # fmt: skip


@functools.lru_cache(maxsize=8)
def hadamard(config: Config, device: Any) -> Tensor:
    """The rotation [channels, channels]: Walsh functions over blocks of the largest power of two, or none."""
    size = config.head_dim
    if not config.rotate:
        return torch.eye(size, dtype=torch.float64, device=device)
    block = size & -size
    sign = [[(-1) ** (i & j).bit_count() * (i // block == j // block) for j in range(size)] for i in range(size)]
    return torch.tensor(sign, dtype=torch.float64, device=device) / math.sqrt(block)


def power(exponent: Tensor) -> Tensor:
    """2**exponent of integers in -1022..1023, exactly; libraries may round, or compute it in float32."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)


def exponent_of(x: Tensor) -> Tensor:
    """floor(log2(|x|)) of numbers that are not zero, as integers; -1 of zero."""
    return torch.frexp(x).exponent.long() - 1


def rounded(x: Tensor, form: str) -> Tensor:
    """x rounded to a format (nearest, ties to even), in one rounding: PyTorch's casts go through float32."""
    significand, least, most = FLOATS[form]
    finite = torch.where(torch.isfinite(x), x, 0)
    unit = power(torch.where(finite == 0, least, exponent_of(finite)).clamp(min=least) - (significand - 1))
    near = torch.round(finite / unit) * unit
    near = torch.where(near.abs() < 2.0 ** (most + 1), near, torch.copysign(torch.full_like(x, math.inf), x))
    return torch.where(torch.isfinite(x), near, x)


def align(config: Config, query: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissas of query_bits bits, and scales [heads, rows]; rows [..., channels] that are not finite as zeros."""
    query = torch.where(torch.isfinite(query).all(dim=-1, keepdim=True), query, 0)
    least = FLOATS[config.float_format][1]
    largest = query.abs().amax(dim=-1)
    scale = power(torch.where(largest == 0, least, exponent_of(largest)).clamp(min=least) - (config.query_bits - 2))
    magnitude = torch.floor(query.abs() / scale[..., None] + 0.5).clamp(max=config.query_max)
    return torch.copysign(magnitude, query), scale


def scales(config: Config, vectors: Tensor, step: int, least: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissas and exponents, integers [heads, tokens], of the least scales at which no code clips.

    `least` [heads, 1] is the smallest exponent.
    """
    half = 1 << (config.scale_bits - 1)
    scale = torch.maximum(vectors.abs().amax(dim=2) / config.code_max(step), half * power(least))
    fraction, exponent = torch.frexp(scale)
    mantissa, exponent = torch.ceil(fraction * (2 * half)), exponent.long() - config.scale_bits
    over = mantissa == 2 * half
    return torch.where(over, half, mantissa), exponent + over


def nearest(config: Config, values: Tensor, step: int) -> Tensor:
    """Digits [digits, ...] of values: the first rounded by itself, the others to what is left, as far as they reach."""
    weight, *others = config.digit_weights(step)
    most, least = ((1 << (step - 1)) - 1) * sum(others), -(1 << (step - 1)) * sum(others)
    lost = max(0.0, weight / 2 - most) ** 2 / (2 * weight)
    lead = torch.round(values / weight).clamp(-DIGIT_MAX, DIGIT_MAX)
    rest = torch.round(values - lead * weight + lost).clamp(least, most)
    found = [lead]
    for other in others:
        # The digits below reach half a step down and nearly as far up, so this one is what rounds them away.
        below = ((1 << (step - 1)) - 1) * sum(w for w in others if w < other)
        found.append(torch.ceil((rest - below) / other))
        rest = rest - found[-1] * other
    return torch.stack(found)


def feedback(config: Config, query: Tensor) -> Tensor:
    """[heads, channels, channels], integers with FEEDBACK_BITS fraction bits, from the moments of the queries."""
    heads, _, size = query.shape
    if not config.shape_keys:
        return torch.zeros((heads, size, size), dtype=torch.float64, device=query.device)
    finite = torch.where(torch.isfinite(query).all(dim=2, keepdim=True), query, 0)
    moments = finite.mT @ finite
    mean = moments.diagonal(dim1=1, dim2=2).sum(dim=1) / size
    damping = torch.where(mean > 0, DAMPING * mean, 1.0)
    eye = torch.eye(size, dtype=torch.float64, device=query.device)
    upper = torch.linalg.cholesky(moments + damping[:, None, None] * eye).mT
    unit = upper / upper.diagonal(dim1=1, dim2=2)[:, :, None]
    return torch.round(unit.triu(1) * 2**FEEDBACK_BITS)


def shaped(config: Config, keys: Tensor, feedback: Tensor, step: int) -> Tensor:
    """Digits [digits, heads, tokens, channels] of keys in units of their scale, channel after channel with feedback."""
    rest = torch.round(keys.mT * 2**ERROR_BITS).contiguous()  # [heads, channels, tokens]
    weights = config.digit_weights(step)
    found = torch.empty((len(weights), *rest.shape), dtype=torch.float64, device=keys.device)
    for i, weight in enumerate(weights):
        unit = weight << ERROR_BITS
        reach = DIGIT_MAX * sum(weights[i + 1 :]) << ERROR_BITS
        error = torch.empty_like(rest)
        for channel in reversed(range(rest.shape[1])):
            target, later = rest[:, channel], slice(channel + 1, None)
            pushed = torch.bmm(feedback[:, channel : channel + 1, later], error[:, later])[:, 0]
            digit = torch.floor((target + torch.floor(pushed / 2**FEEDBACK_BITS) + unit // 2) / unit)
            if reach:  # no farther than what the digits after this one can make up for
                digit = digit.clamp(torch.ceil((target - reach) / unit), torch.floor((target + reach) / unit))
            found[i, :, channel] = digit.clamp_(DIGIT_MIN, DIGIT_MAX)
            error[:, channel] = target - found[i, :, channel] * unit
        rest = error
    return found.mT
