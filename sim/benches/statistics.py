"""Bench of the statistics: heads of few and many rows, compared with golden.statistics."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.align import align_to
from golden.config import Config
from golden.formats import FORMATS, FloatFormat
from golden.statistics import statistics
from rtl import layouts
from rtl.statistics import Statistics, head_statistics
from sim import job
from sim.benches.stimuli import KINDS, numbers
from sim.pack import pack
from sim.scoreboard import Scoreboard
from sim.streams import STALLS, assert_latency, check_streams, finish
from sim.testbench import Pauses, Testbench

HEADS = 90
MANY = 140
"""Rows of a long head."""


def elements(form: FloatFormat, rng: np.random.Generator, shape: tuple[int, ...], kind: int) -> NDArray[np.uint16]:
    """Finite words: by `kind`, extremes of sign, exponent and fraction, all of any bits, or close values."""
    if kind < KINDS:
        exponent = numbers(rng, 0, form.exponent_max - 1, shape, kind)
        fraction = numbers(rng, 0, (1 << form.fraction_bits) - 1, shape, int(rng.integers(0, KINDS)))
        sign = numbers(rng, 0, 1, shape, int(rng.integers(0, KINDS)))
        return (((sign << form.exponent_bits | exponent) << form.fraction_bits) | fraction).astype(np.uint16)
    return form.encode(rng.standard_normal(shape) + rng.standard_normal(shape[-1]))


def head(config: Config, rng: np.random.Generator, n: int) -> NDArray[np.uint16]:
    """The n-th head: of equal or unequal rows, whose exponents rise far, by little, or all the time.

    The numbers of rows include 1, the powers of two with their neighbours, and the most there may be.
    """
    form = FORMATS[config.float_format]
    sizes = [1, 2, 3, *(size + near for size in (4, 8, 16, 32, 64) for near in (-1, 0, 1)), MANY, config.max_tokens]
    tokens = min(sizes[n] if n < len(sizes) else int(rng.choice([1, 2, 5, 30])), config.max_tokens, MANY)
    shape = (tokens, config.head_dim)
    kind = n % (KINDS + 4)
    words = elements(form, rng, shape, kind)
    if kind in (KINDS + 1, KINDS + 2):  # exponents that rise now and then, or in every row
        most = form.exponent_max - 1
        rises = (
            np.sort(rng.integers(1, most + 1, tokens)) if kind == KINDS + 1 else np.minimum(1 + np.arange(tokens), most)
        )
        fraction = (1 << form.fraction_bits) - 1
        own = np.clip(rises[:, None] - rng.integers(0, 3, shape), 0, None)
        sign = rng.integers(0, 2, shape[1]) << (form.bits - 1)  # channels that keep their sign, so that sums grow
        words = (sign | (own << form.fraction_bits) | (words & fraction)).astype(np.uint16)
    if kind == KINDS + 3:  # small elements, then an exponent so large that nothing is left of them
        sign, most = rng.integers(0, 2, shape) << (form.bits - 1), (2 << form.fraction_bits) - 1
        words = (sign | rng.integers(0, most, shape, endpoint=True)).astype(np.uint16)
        late = int(rng.integers(0, tokens))
        words[late, rng.integers(0, config.head_dim)] = rng.integers(form.bias, form.exponent_max) << form.fraction_bits
    return words


def rows(config: Config, heads: list[NDArray[np.uint16]]) -> list[int]:
    """What goes in for the heads."""
    return [
        pack(layouts.row(config), {"elements": row, "last": n == len(words) - 1})
        for words in heads
        for n, row in enumerate(words.tolist())
    ]


def results(config: Config, heads: list[NDArray[np.uint16]]) -> list[int]:
    """What must come out."""
    found = [statistics(config, words) for words in heads]
    return [
        pack(head_statistics(config), {"exponent": each.exponent, "mean": each.mean.tolist(), "reach": each.reach})
        for each in found
    ]


def stated(config: Config, heads: list[NDArray[np.uint16]]) -> tuple[list[int], list[int]]:
    """Cycles in which rows are taken and statistics leave if nothing stalls, counted from the first row."""
    form, pause = FORMATS[config.float_format], Statistics(config).pause
    taken, left, added = [], [], 0
    for n, words in enumerate(heads):
        exponents = align_to(form, words, config.input_bits).exponent
        running = np.maximum.accumulate(exponents)
        waits = np.minimum(np.diff(running), config.total_bits)
        first = added + pause if n else 2
        adds = first + np.cumsum([0, *(waits + 1)])
        taken += [added, *adds[:-1].tolist()]  # a row is taken when the one before is added
        added = int(adds[-1])
        left.append(added - 1 + Statistics(config).latency)
    return taken, left


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def heads(dut: Any, stalls: float) -> None:
    """Exponent, means and reach of heads back to back; every row and every result in the cycle that is stated."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    made = [head(config, rng, n) for n in range(HEADS)]
    layout, expected = head_statistics(config), results(config, made)
    cycles = await check_streams(dut, {"i": rows(config, made)}, {"o": (layout, expected)}, stalls)
    if not stalls:
        taken, left = stated(config, made)
        start = cycles["i"][0]
        assert_latency([start + cycle for cycle in taken], cycles["i"], 0)
        assert_latency([start + cycle for cycle in left], cycles["o"], 0)


@cocotb.test()
async def waiting(dut: Any) -> None:
    """While the statistics of a head are not taken, the next head is added up, and no row more than one taken."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    made = [elements(FORMATS[config.float_format], rng, (5, config.head_dim), KINDS) for _ in range(4)]
    bench = Testbench(dut)
    found = Scoreboard("o", head_statistics(config), results(config, made))
    source = bench.source("i", rows(config, made))
    output = bench.sink("o", found.check, Pauses(1.0))
    await bench.reset()
    await bench.idle(4 * Statistics(config).latency)
    taken = sum(map(len, made[:2])) + 1
    assert len(source.cycles) == taken, f"{len(source.cycles)} rows were taken, stated {taken}"
    output.pauses = Pauses()
    await bench.run(lambda: source.done and not found.expected, limit=4 * Statistics(config).latency)
    await finish(bench, [found])
