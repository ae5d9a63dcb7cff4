"""Bench of the normalisation: quotients of all magnitudes, compared bit for bit with golden.normalise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.formats import FP16
from golden.normalise import bit_length, normalise, reciprocal
from rtl import layouts
from rtl.normalise import NormaliseLane
from sim import job
from sim.benches.stimuli import KINDS, numbers
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, assert_latency, check_streams

ROWS = 400
Row = tuple[NDArray[np.int64], int]


def random_rows(config: Config, rng: np.random.Generator) -> Iterator[Row]:
    """Sums and totals of all lengths, their extremes and zero."""
    most = (1 << (config.output_sum_bits - 1)) - 1
    for n in range(ROWS):
        total = int(numbers(rng, 0, config.prob_max * config.max_tokens, (), int(rng.integers(0, KINDS))))
        sums = numbers(rng, -most, most, (config.head_dim,), n % KINDS)
        lengths = (0, config.output_sum_bits)[n % 2]
        yield sums >> rng.integers(0, lengths + 1, config.head_dim), total >> int(rng.integers(0, 12))


def tie_rows(config: Config, rng: np.random.Generator) -> Iterator[Row]:
    """Quotients that often lie halfway between two FP16 numbers: both factors have many zeros at their end."""
    bits = config.reciprocal_bits
    mantissas = np.arange(1 << (bits - 1), 1 << bits)
    round_ones = mantissas[reciprocal(config, mantissas) % 64 == 0]
    for total in rng.choice(round_ones, ROWS).tolist():
        zeros = rng.integers(bits - 8, bits, config.head_dim)
        sums = rng.integers(1 << (bits - 1 - zeros), 1 << (bits - zeros)) << zeros
        yield sums * rng.choice([-1, 1], config.head_dim), total


def exponents(config: Config, rng: np.random.Generator, row: Row) -> int:
    """A power of two for the row: any, or one that brings its largest result between underflow and overflow."""
    bound = 1 << (config.output_exponent_bits - 1)
    sums, total = row
    if rng.random() < 0.2:
        return int(rng.integers(-bound, bound))
    own = int(bit_length(np.abs(sums)).max() - bit_length(np.array(total)))
    field = int(rng.integers(-FP16.significand_bits - 3, FP16.exponent_max + 4))
    return int(np.clip(field - FP16.bias - own, -bound, bound - 1))


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def quotients(dut: Any, stalls: float) -> None:
    """All elements: normal, subnormal, zero, infinite, ties, NaN in invalid rows; a row takes all of its chunks."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    words, expected = [], []
    for sums, total in [*random_rows(config, rng), *tie_rows(config, rng)]:
        exponent, invalid = exponents(config, rng, (sums, total)), rng.random() < 0.1
        finished = {
            "sums": {"prob_total": total, "output_sum": sums.tolist()},
            "info": {"output_exponent": exponent, "invalid": invalid},
        }
        words.append(pack(layouts.finished(config), finished))
        golden = normalise(config, sums[None], np.array([total]), exponent, np.array([invalid]))
        expected.append(pack(layouts.output(config), golden[0].tolist()))
    cycles = await check_streams(dut, {"i": words}, {"o": (layouts.output(config), expected)}, stalls)
    if not stalls:
        chunks = config.output_slices
        assert_latency(cycles["i"], cycles["o"], chunks + NormaliseLane.latency + 1)
        assert_full_rate(cycles["i"], chunks)
