"""Preparation in PyTorch, for all heads of a layer: what golden.statistics, rotate, prepare and restore define.

Written again, with equal results: the sums are of integers, and those that golden shifts now and then are summed up in
runs between two shifts.
"""

from __future__ import annotations

import dataclasses
import math

from golden.config import Config
from golden.tables import MEAN_FRACTION_BITS, MEAN_RECIPROCAL_BITS, ONE
from golden.tiles import Tiles
from scripts.torch_align import (
    FLOATS,
    Tensor,
    accumulate,
    align_to,
    finite_rows,
    power,
    raises,
    rounded,
    shifted,
    torch,
)
from scripts.torch_quantise import feedback, nearest, scaled, scales, shaped

CHANNEL_STEP = 8


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What is known of all keys or values of a head together, in units of 2**(exponent - bias - (input_bits - 2))."""

    exponent: Tensor
    """[heads], biased"""
    mean: Tensor
    """[heads, channels]"""
    reach: Tensor
    """[heads]"""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The heads of a layer as the core sees them; tokens in tile order, channels up to config.head_dim."""

    config: Config
    head_dim: int
    given: Tensor
    """[heads, tokens, head_dim], queries in config.float_format, before rotation, in original order"""
    query: Tensor
    """[heads, rows, channels], rotated queries as the core is fed them; NaNs in rows that are not finite"""
    mantissa: Tensor
    """[heads, rows, channels], the aligned queries; zeros in rows that are not finite"""
    query_exponent: Tensor
    """[heads, rows], biased; 1 of rows that are not finite"""
    key_vector: Tensor
    """[heads, tokens, channels], centred and rotated keys"""
    factor: int
    """Mantissa of the softmax scale: see `softmax_factor`"""
    key_power: Tensor
    """[heads], of two: key_vector * factor / ONE * 2**key_power is what meets queries in base-2 scores"""
    value_statistics: Statistics
    key_digits: Tensor
    """[digits, heads, tokens, channels], int8, most significant first"""
    key_scale: Tensor
    """[heads, tokens]"""
    value_digits: Tensor
    """[digits, heads, tokens, channels], int8"""
    value_scale: Tensor
    """[heads, tokens], in units of 2**output_exponent: below 1"""
    output_exponent: Tensor
    """[heads], integers"""

    def restore(self, output: Tensor) -> Tensor:
        """Outputs [heads, rows, channels], FP16 numbers, as the heads': [heads, rows, head_dim], FP16 numbers again."""
        config = self.config
        known, finite = finite_rows(output)
        mantissa, exponent = align_to("fp16", known, config.input_bits)
        row_power = exponent - FLOATS["fp16"][1] - (config.input_bits - 2)
        row_power = row_power + config.rotation_shift - config.rotation_stages
        mean_power = unit_power(config, self.value_statistics.exponent)[:, None]
        common = torch.maximum(row_power, mean_power - MEAN_FRACTION_BITS)
        row = shifted(rotate(config, mantissa), (common - row_power).clamp(max=62)[..., None])
        left = (mean_power - common)[..., None]
        mean = self.value_statistics.mean[:, None] << left.clamp(min=0)
        mean = shifted(mean, (-left).clamp(0, 62))
        found = rounded((row + mean).double() * power(common)[..., None], "fp16")
        return torch.where(finite, found, torch.nan)[..., : self.head_dim]


def prepare(config: Config, q: Tensor, k: Tensor, v: Tensor, rows: Tiles, columns: Tiles) -> Prepared:
    """Prepare q, k and v [heads, tokens, head_dim], all tokens in original order; refuses what golden.prepare does."""
    head_dim, form = q.shape[-1], config.float_format
    if head_dim > config.head_dim or head_dim % CHANNEL_STEP:
        raise ValueError(
            f"head_dim = {head_dim}: must be a multiple of {CHANNEL_STEP}, at most config.head_dim = {config.head_dim}"
        )
    for name, x in (("k", k), ("v", v)):
        if not torch.isfinite(x).all():
            raise ValueError(f"{name} holds an infinity or a NaN: must be finite")
    largest = v.abs().amax().double()
    q, k, v = (_words(form, name, x.to(torch.float64)) for name, x in (("q", q), ("k", k), ("v", v)))

    def ordered(x: Tensor, tiles: Tiles) -> Tensor:
        order = torch.as_tensor(tiles.order, device=x.device)
        return torch.nn.functional.pad(x[:, order], (0, config.head_dim - head_dim))

    raw, finite = finite_rows(ordered(q, rows))
    mantissa, exponent = align_to(form, raw, config.input_bits)
    unit = power(unit_power(config, exponent) - config.rotation_shift)[..., None]
    query = rounded(rotate(config, mantissa).double() * unit, form)
    if not torch.isfinite(query).all():
        raise ValueError(f"q reaches {float(raw.abs().max()):.3g}: after rotation beyond {form}")
    mantissa, exponent = align_to(form, query, config.query_bits)

    keys, key_vector = centred(config, ordered(k, columns))
    values, value_vector = centred(config, ordered(v, columns))
    rotated = value_vector.abs().amax(dim=(1, 2)) * power(unit_power(config, values.exponent))
    largest = torch.maximum(largest, rotated.amax())
    if not torch.isfinite(rounded(largest, "fp16")):
        raise ValueError(f"v reaches {float(largest):.3g} before or after rotation: beyond fp16, the output format")

    factor, factor_exponent = softmax_factor(config, head_dim)
    key_power = (unit_power(config, keys.exponent) + factor_exponent)[:, None]
    step = config.key_digit_step
    least = -(1 << (config.key_exponent_bits - 1)) - key_power
    key_mantissa, key_exponent = scales(config, key_vector.abs().amax(dim=2), factor, step, least)
    units = scaled(config, key_vector, factor, key_mantissa, key_exponent)
    query = torch.where(finite, query, torch.nan)
    shape = config.shape_keys
    key_digits = shaped(config, units, feedback(query), step) if shape else nearest(config, units, step)
    # The largest value there can be decides the output exponent: smaller scales are shifted right.
    step = config.value_digit_step
    power_of_values = unit_power(config, values.exponent)[:, None] + config.scale_bits
    least = -(1 << (config.output_exponent_bits - 1)) - power_of_values
    most = ((values.reach[:, None] >> config.rotation_shift) + 1).clamp(max=config.rotated_max)
    _, top = scales(config, most, ONE, step, least)
    least = top - (1 << config.value_exponent_bits) + 1
    value_mantissa, value_exponent = scales(config, value_vector.abs().amax(dim=2), ONE, step, least)
    units = scaled(config, value_vector, ONE, value_mantissa, value_exponent)
    return Prepared(
        config, head_dim, q, query, mantissa, exponent, key_vector, factor, key_power[:, 0], values,
        key_digits=key_digits,
        key_scale=key_mantissa * power(key_exponent + key_power),
        value_digits=nearest(config, units, step),
        value_scale=value_mantissa * power(value_exponent - top - config.scale_bits),
        output_exponent=(top + power_of_values)[:, 0],
    )  # fmt: skip


def _words(form: str, name: str, x: Tensor) -> Tensor:
    """x rounded to a format; a finite number beyond it raises ValueError."""
    found = rounded(x, form)
    if (torch.isfinite(x) & ~torch.isfinite(found)).any():
        raise ValueError(f"{name} reaches {float(x[torch.isfinite(x)].abs().max()):.3g}: beyond {form}")
    return found


def unit_power(config: Config, exponent: Tensor) -> Tensor:
    """The power of two that an integer counts which was aligned to input_bits at a biased exponent."""
    return exponent - FLOATS[config.float_format][1] - (config.input_bits - 2)


def softmax_factor(config: Config, head_dim: int) -> tuple[int, int]:
    """Mantissa and exponent of what turns q . k into a base-2 score: mantissa / ONE * 2**exponent."""
    rest = 2.0 ** (2 * config.rotation_shift - config.rotation_stages)
    fraction, exponent = math.frexp(math.log2(math.e) / math.sqrt(head_dim) * rest)
    return round(fraction * 2 * ONE), exponent - 1


def rotate(config: Config, x: Tensor) -> Tensor:
    """Integers [..., channels] times a Sylvester-Hadamard matrix of ones and minus ones, block by block."""
    size = 1 << config.rotation_stages
    out = x.unflatten(-1, (-1, size))
    for stage in range(config.rotation_stages):
        pairs = out.unflatten(-1, (-1, 2, 1 << stage))
        even, odd = pairs[..., 0, :], pairs[..., 1, :]
        out = torch.stack([even + odd, even - odd], dim=-2).flatten(-3)
    return out.flatten(-2)


def statistics(config: Config, x: Tensor) -> Statistics:
    """Statistics of keys or values [heads, tokens, channels] of config.float_format, in the order of the tokens."""
    form, bits, tokens = config.float_format, config.input_bits, x.shape[1]
    level = align_to(form, x, bits)[1].cummax(dim=1).values
    rows, _ = align_to(form, x, bits, level)
    total = accumulate(rows, level)
    shift = MEAN_RECIPROCAL_BITS + tokens.bit_length()
    mean = (total * ((1 << shift) // tokens) + (1 << shift >> 1)) >> shift
    # The largest row of each run at one exponent, shifted right, and up by one, with each rise.
    last, rise = raises(level)
    run = torch.searchsorted(last, torch.arange(tokens, device=x.device).repeat(len(x), 1))
    longest = torch.zeros_like(last).scatter_reduce(1, run, rows.abs().sum(dim=2), "amax")
    reach = longest[:, 0]
    for n in range(1, last.shape[1]):
        reach = torch.maximum((reach >> rise[:, n]) + (rise[:, n] > 0), longest[:, n])
    return Statistics(level[:, -1], mean, reach + mean.abs().sum(dim=1) + config.head_dim)


def centred(config: Config, x: Tensor) -> tuple[Statistics, Tensor]:
    """The statistics of keys or values [heads, tokens, channels], and these, centred and rotated."""
    found = statistics(config, x)
    mantissa, _ = align_to(config.float_format, x, config.input_bits, found.exponent[:, None].expand(x.shape[:2]))
    shift = config.rotation_shift
    return found, (rotate(config, mantissa - found.mean[:, None]) + (1 << shift >> 1)) >> shift
