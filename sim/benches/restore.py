"""Bench of restoring: rows of the core's output and means of heads' values, compared with golden.restore."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.formats import FORMATS, FP16
from golden.restore import restore_rows
from golden.statistics import Statistics
from golden.tables import MEAN_FRACTION_BITS
from rtl import layouts
from rtl.restore import AddMean, Restore
from sim import job
from sim.benches.prepare_query import ROW_KINDS, raw_row
from sim.benches.stimuli import KINDS, numbers
from sim.pack import pack
from sim.scoreboard import Scoreboard
from sim.streams import STALLS, assert_full_rate, assert_latency, finish
from sim.testbench import Held, Pauses, Testbench

MEANS = 48
ROWS = 2 * ROW_KINDS
"""Rows of a head."""


def means(config: Config, rng: np.random.Generator, n: int, near: int) -> Statistics:
    """The n-th head's mean. Its exponent is any, or such that rows of the exponent `near` are shifted by what matters.

    Shifted they are against each other, one or the other, and by so much that nothing is left.
    """
    form, bound = FORMATS[config.float_format], 1 << (config.input_bits - 1)
    mean = numbers(rng, -bound, bound - 1, (config.head_dim,), n % KINDS)
    reach = AddMean(config, 1).bits + 2
    ahead = int(rng.integers(-reach, reach, endpoint=True)) if n % 3 else int(rng.integers(-3, 4))
    own = near - FP16.bias + config.rotation_shift - config.rotation_stages + MEAN_FRACTION_BITS + form.bias - ahead
    exponent = int(rng.integers(1, form.exponent_max)) if n % 8 == 0 else min(max(own, 1), form.exponent_max - 1)
    return Statistics(exponent, np.zeros_like(mean), mean, 0)


def output_rows(config: Config, rng: np.random.Generator, near: int) -> NDArray[np.uint16]:
    """Rows of all kinds, and of about the exponent `near`."""
    rows = np.stack([raw_row(config, FP16, rng, n % ROW_KINDS) for n in range(ROWS)])
    spread = np.exp2(near - FP16.bias - rng.integers(0, 4, (ROW_KINDS, 1)))
    rows[:ROW_KINDS] = FP16.encode(np.clip(rng.standard_normal((ROW_KINDS, config.head_dim)), -1.99, 1.99) * spread)
    return rows[rng.permutation(ROWS)]


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def restored(dut: Any, stalls: float) -> None:
    """Head after head; one row every so many cycles."""
    config, _ = job.read()
    seed = cocotb.RANDOM_SEED
    rng = np.random.default_rng(seed)
    component, layout = Restore(config), layouts.row(config, FP16)
    bench = Testbench(dut)
    held = Held(dut, "mean", "mean_exponent")
    bench.ports.append(held)
    board = Scoreboard("o", layout)
    source = bench.source("i", pauses=Pauses(stalls, seed=seed))
    sink = bench.sink("o", board.check, Pauses(stalls, seed=seed + 1))
    await bench.reset()
    for n in range(MEANS):
        near = int(rng.integers(1, FP16.exponent_max))
        statistics, rows = means(config, rng, n, near), output_rows(config, rng, near)
        held.set(pack(layouts.mean(config), statistics.mean.tolist()), statistics.exponent)
        last = rng.integers(0, 2, ROWS).tolist()
        for words_of, table in ((source.words, rows), (board.expected, restore_rows(config, rows, statistics))):
            words_of.extend(
                pack(layout, {"elements": row, "last": ends}) for row, ends in zip(table.tolist(), last, strict=True)
            )
        await bench.run(lambda: source.done and not board.expected, limit=200 + 20 * ROWS * component.interval)
        if not stalls:
            if component.rotate.rotate.cycles <= component.cut.slices:  # else rows wait for the one before
                assert_latency(source.cycles[-ROWS:], sink.cycles[-ROWS:], component.latency)
            assert_full_rate(sink.cycles[-ROWS:], component.interval)
    await finish(bench, [board])
