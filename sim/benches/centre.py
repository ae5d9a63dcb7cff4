"""Bench of centring: heads of rows of close and of any finite numbers, compared with golden.prepare.centred."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.align import align_to
from golden.config import Config
from golden.formats import FORMATS
from golden.prepare import centred
from golden.rotate import rotate, rotate_centred
from rtl.centre import Centre, centred_row, offset, raw_row
from sim import job
from sim.pack import pack
from sim.scoreboard import Scoreboard
from sim.streams import STALLS, assert_full_rate, assert_latency, finish
from sim.testbench import Held, Pauses, Testbench

ROWS = 60
EXTREME = 4
"""Of `heads`, the one of extreme rows."""


def extremes(config: Config) -> NDArray[np.uint16]:
    """Rows that reach as far as numbers can: the largest, by the signs of the matrix, all but one row's negated."""
    form = FORMATS[config.float_format]
    signs = rotate(config, np.eye(config.head_dim, dtype=np.int64)) > 0
    largest = (form.exponent_max << form.fraction_bits) - 1
    return np.where(signs, largest, largest | 1 << (form.bits - 1)).astype(np.uint16)


def heads(config: Config, rng: np.random.Generator) -> list[NDArray[np.uint16]]:
    """Heads [rows, head_dim]: of any finite bits, of a large mean, of close numbers, of subnormal numbers, extreme."""
    form, shape = FORMATS[config.float_format], (ROWS, config.head_dim)
    finite = rng.integers(0, form.exponent_max << form.fraction_bits, shape, np.uint16)
    finite |= rng.integers(0, 2, shape, np.uint16) << (form.bits - 1)
    offset = form.encode(rng.standard_normal(shape) + 8 * rng.standard_normal(config.head_dim))
    close = form.encode(rng.standard_normal(shape) * np.exp2(rng.integers(-16, 8, (ROWS, 1))))
    subnormal = rng.integers(0, 1 << form.fraction_bits, shape, np.uint16)
    return [finite, offset, close, subnormal, extremes(config)]


def of_head(config: Config, words: NDArray[np.uint16], extreme: bool) -> tuple[int, list[tuple[list[int], list[int]]]]:
    """What is known of a head's rows, and every row with what becomes of it; if `extreme`, for a mean as far from them
    as it can be.
    """
    found, vectors = centred(config, words)
    exponent, mean = found.exponent, found.mean
    if extreme:
        most = config.input_max
        mean = np.where(rotate(config, np.eye(config.head_dim, dtype=np.int64))[-1] > 0, -most, most)
        aligned = align_to(FORMATS[config.float_format], words, config.input_bits, np.full(len(words), exponent))
        vectors = rotate_centred(config, aligned.mantissa - mean)
    known = pack(offset(config), {"exponent": exponent, "mean": mean.tolist()})
    return known, list(zip(words.tolist(), vectors.tolist(), strict=True))


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def rows_of_heads(dut: Any, stalls: float) -> None:
    """Centred rows of keys among values, each with their exponent and mean; one row every so many cycles."""
    config, _ = job.read()
    seed = cocotb.RANDOM_SEED
    rng = np.random.default_rng(seed)
    component = Centre(config)
    bench = Testbench(dut)
    held = Held(dut, "keys", "values")
    bench.ports.append(held)
    board = Scoreboard("o", centred_row(config))
    source = bench.source("i", pauses=Pauses(stalls, seed=seed))
    sink = bench.sink("o", board.check, Pauses(stalls, seed=seed + 1))
    await bench.reset()
    made = [of_head(config, words, kind == EXTREME) for kind, words in enumerate(heads(config, rng))]
    for pair in zip(made, [*made[1:], made[0]], strict=True):  # keys, and values
        held.set(*(known for known, _ in pair))
        words = [(value, *row) for value, (_, rows) in enumerate(pair) for row in rows]
        for value, raw, vector in (words[k] for k in rng.permutation(len(words))):
            flags = {"value": value, "last": int(rng.integers(2))}
            source.words.append(pack(raw_row(config), {"elements": raw} | flags))
            board.expected.append(pack(centred_row(config), {"vector": vector} | flags))
        entered, left = len(source.cycles), len(sink.cycles)
        await bench.run(lambda: not board.expected, limit=200 + 200 * len(words))
        if not stalls:
            assert_latency(source.cycles[entered:][:1], sink.cycles[left:][:1], component.latency)
            assert_full_rate(sink.cycles[left:], component.cycles)
    await finish(bench, [board])
