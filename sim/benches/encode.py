"""Bench of the encoder: integers of all magnitudes at all powers of two that matter, compared with golden.formats."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.formats import BF16, FORMATS
from rtl import layouts
from rtl.components import COMPONENTS
from rtl.encode import Encode, integers, power_shape
from sim import job
from sim.benches.stimuli import KINDS, numbers
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, assert_latency, check_streams

ROWS = 500


def numbers_of(config: Config, rng: np.random.Generator, width: int, kind: int) -> NDArray[np.int64]:
    """A row: by `kind` as `numbers`, of all magnitudes, or about ties: halfway between two words, or next to it."""
    bound, size, significand = 1 << (width - 1), config.head_dim, FORMATS[config.float_format].significand_bits
    if kind < KINDS:
        return numbers(rng, -bound, bound - 1, (size,), kind)
    below = rng.integers(0, max(1, width - 1 - significand), size)  # bits of a magnitude below the rounding bit
    halfway = 2 * rng.integers(1 << (significand - 1), 1 << significand, size) + 1
    magnitude = (halfway << below) + rng.integers(-1, 2, size)
    if kind % 2:
        magnitude = rng.integers(0, bound, size) >> rng.integers(0, width, size)
    return np.clip(np.where(rng.integers(0, 2, size) == 1, -magnitude, magnitude), -bound, bound - 1)


def power_of(config: Config, rng: np.random.Generator, row: NDArray[np.int64], kind: int) -> int:
    """A row's power of two: any, or such that one of its numbers is about the smallest or the largest of the format."""
    form = FORMATS[config.float_format]
    most = 1 << (power_shape(config).width - 1)
    length = int(abs(rng.choice(row))).bit_length()
    match kind:
        case 0:
            power = int(rng.integers(-most, most))
        case 1 | 2:  # the smallest normal number, or one less than half of the smallest subnormal one
            power = 1 - form.bias - length + int(rng.integers(-form.significand_bits - 1, 3))
        case 3:
            power = form.bias + 1 - length + int(rng.integers(-1, 2))
        case _:
            power = -length + int(rng.integers(-4, 5))
    # Golden takes BF16 by way of float32: beyond the last bit of that it would round twice, where no query is.
    least = -149 if form is BF16 else -most
    return min(max(power, least), most - 1)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def encoded(dut: Any, stalls: float) -> None:
    """Words, NaNs of invalid rows, and the last mark; one row every so many cycles."""
    config, _ = job.read()
    form, rng = FORMATS[config.float_format], np.random.default_rng(cocotb.RANDOM_SEED)
    component = COMPONENTS["encode"](config)
    assert isinstance(component, Encode)
    width = component.encode.width
    entering, leaving = integers(config, width), layouts.row(config, form)
    inputs, expected = [], []
    for n in range(ROWS):
        row = numbers_of(config, rng, width, n % (KINDS + 4))
        power = power_of(config, rng, row, n // (KINDS + 4) % 5)
        invalid, last = int(rng.random() < 0.1), int(rng.integers(0, 2))
        inputs.append(pack(entering, {"vector": row.tolist(), "power": power, "invalid": invalid, "last": last}))
        found = np.where(invalid, form.nan, form.encode(np.ldexp(row.astype(np.float64), power)))
        expected.append(pack(leaving, {"elements": found.tolist(), "last": last}))
    cycles = await check_streams(dut, {"i": inputs}, {"o": (leaving, expected)}, stalls)
    if not stalls:
        assert_latency(cycles["i"], cycles["o"], Encode.latency)
        assert_full_rate(cycles["i"], component.interval)
