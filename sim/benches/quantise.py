"""Bench of quantisation: heads of rows of all sizes, whose scales clamp or not, compared with golden.quantise."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from amaranth.hdl import signed
from numpy.typing import NDArray

from golden.config import Config
from golden.quantise import FACTOR_BITS, ONE, nearest, scaled, scales
from rtl.centre import centred_row
from rtl.quantise import Quantise, exponent_bits, quantised
from sim import job
from sim.benches.stimuli import KINDS, numbers
from sim.core_words import stored
from sim.pack import pack
from sim.scoreboard import Scoreboard
from sim.streams import STALLS, assert_full_rate, assert_latency, finish
from sim.testbench import Held, Pauses, Testbench

HEADS, ROWS = 16, 40


def vectors(config: Config, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows [rows, head_dim]: extreme, zero, tiny, any, and bell-shaped ones of all sizes, some with one outlier."""
    bound = 1 << (config.rotated_bits - 1)
    size = np.exp2(rng.uniform(0, config.rotated_bits - 3, (ROWS, 1)))
    rows = np.rint(rng.standard_normal((ROWS, config.head_dim)) * size).astype(np.int64)
    for n in range(0, ROWS, 2):
        kind = n // 2 % (KINDS + 2)
        if kind < KINDS:
            rows[n] = numbers(rng, -bound, bound - 1, (config.head_dim,), kind)
        elif kind == KINDS:  # one channel is all there is; any may be the largest
            rows[n] = 0
        rows[n, rng.integers(config.head_dim)] = rng.integers(-bound, bound) >> rng.integers(config.rotated_bits)
    rows[rng.integers(ROWS)] = 0
    return np.clip(rows, -bound, bound - 1)


def key_factor(rng: np.random.Generator, head: int) -> int:
    """A factor of keys: by `head` as low or as high as there is, or any."""
    return (ONE, (1 << FACTOR_BITS) - 1, int(rng.integers(ONE, 1 << FACTOR_BITS)))[head % 3]


def least_exponent(
    config: Config, rng: np.random.Generator, rows: NDArray[np.int64], factor: int, step: int, head: int
) -> int:
    """A least exponent: by `head` as low or as high as there is, or within the exponents of the rows."""
    lowest, highest = (sign << (exponent_bits(config) - 1) for sign in (-1, 1))
    if head % 4 < 2:
        return (lowest, highest - 1)[head // 4 % 2] if head % 4 else lowest
    return int(rng.choice(scales(config, np.abs(rows).max(axis=1), factor, step, -(1 << 7))[1]))


def expected(config: Config, rows: NDArray[np.int64], factor: int, step: int, least: int) -> list[dict[str, Any]]:
    """Codes and scales of rows."""
    mantissa, exponent = scales(config, np.abs(rows).max(axis=1), factor, step, least)
    codes = stored(nearest(config, scaled(config, rows, factor, mantissa, exponent), step))
    fields = zip(codes.tolist(), mantissa.tolist(), exponent.tolist(), strict=True)
    return [dict(zip(("codes", "mantissa", "exponent"), each, strict=True)) for each in fields]


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def rows_of_heads(dut: Any, stalls: float) -> None:
    """Codes and scales of keys among values, each with its factor and least exponent; one row every so many cycles."""
    config, _ = job.read()
    seed = cocotb.RANDOM_SEED
    rng = np.random.default_rng(seed)
    component = Quantise(config)
    bench = Testbench(dut)
    held = Held(dut, "key_factor", "key_least", "value_least")
    bench.ports.append(held)
    board = Scoreboard("o", quantised(config))
    source = bench.source("i", pauses=Pauses(stalls, seed=seed))
    sink = bench.sink("o", board.check, Pauses(stalls, seed=seed + 1))
    await bench.reset()
    for head in range(HEADS):
        rows, lasts = vectors(config, rng), rng.integers(0, 2, ROWS).tolist()
        values = rng.integers(0, 2, ROWS).tolist()
        factors, steps = [key_factor(rng, head), ONE], (config.key_digit_step, config.value_digit_step)
        leasts = [
            least_exponent(config, rng, rows, factor, step, head + n)
            for n, (factor, step) in enumerate(zip(factors, steps, strict=True))
        ]
        held.set(factors[0], *(pack(signed(exponent_bits(config)), each) for each in leasts))
        found = [expected(config, rows, *each) for each in zip(factors, steps, leasts, strict=True)]
        for n, (value, last) in enumerate(zip(values, lasts, strict=True)):
            flags = {"value": value, "last": last}
            source.words.append(pack(centred_row(config), {"vector": rows[n].tolist()} | flags))
            board.expected.append(pack(quantised(config), found[value][n] | flags))
        entered, left = len(source.cycles), len(sink.cycles)
        await bench.run(lambda: not board.expected, limit=200 + 200 * ROWS)
        if not stalls:
            assert_latency(source.cycles[entered:], sink.cycles[left:], component.latency)
            assert_full_rate(sink.cycles[left:], component.chunks)
    await finish(bench, [board])
