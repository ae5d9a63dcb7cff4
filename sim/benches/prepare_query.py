"""Bench of query preparation: rows of every kind of floating-point number, compared with golden.prepare."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.formats import FORMATS, FloatFormat
from golden.latencies import head_start
from golden.prepare import prepare_query
from rtl import layouts
from rtl.prepare_query import PrepareQuery
from sim import job
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, assert_latency, check_streams
from sim.testbench import Pauses, Testbench

ROWS = 320
ROW_KINDS = 8
MOST_OFF = 3
"""Cycles by which rows that waited may leave sooner or later than counted."""


def raw_row(config: Config, form: FloatFormat, rng: np.random.Generator, kind: int) -> NDArray[np.uint16]:
    """A row of words: of any bits, finite or not; alike ones; one of them; zeros; subnormal, largest, or short ones."""
    size, sign = config.head_dim, 1 << (form.bits - 1)
    signs, place = rng.integers(0, 2, size, np.uint16) * sign, int(rng.integers(0, size))
    infinity = form.exponent_max << form.fraction_bits
    alike = form.encode(rng.standard_normal(size) * np.exp2(rng.integers(-form.bias - 9, form.bias - 3)))
    match kind:
        case 0:  # one that is not finite, wherever it is
            row = rng.integers(0, infinity, size, np.uint16) | signs
            row[place] = rng.choice([infinity, infinity | sign, form.nan, infinity | 1])
        case 1:
            row = rng.integers(0, infinity, size, np.uint16) | signs
        case 2:
            row = np.where(np.arange(size) == place, alike, signs)
        case 3:
            row = signs
        case 4:
            row = rng.integers(0, 1 << form.fraction_bits, size, np.uint16) | signs
        case 5:  # beyond the format once rotated, in one channel at least
            row = np.full(size, infinity - 1) | np.where(rng.random() < 0.5, signs, signs[:1])
        case 6:  # sums of few bits: exact, zero, or halfway
            row = form.encode(rng.integers(-9, 10, size) * np.exp2(rng.integers(-form.bias, form.bias - 3)))
        case _:
            row = alike
    return row.astype(np.uint16)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def prepared(dut: Any, stalls: float) -> None:
    """Rotated rows and the last mark; one row every so many cycles."""
    config, _ = job.read()
    form, rng = FORMATS[config.float_format], np.random.default_rng(cocotb.RANDOM_SEED)
    component, layout = PrepareQuery(config), layouts.row(config, form)
    rows = np.stack([raw_row(config, form, rng, n % ROW_KINDS) for n in range(ROWS)])
    last = rng.integers(0, 2, ROWS).tolist()
    inputs, expected = (
        [pack(layout, {"elements": row, "last": ends}) for row, ends in zip(table.tolist(), last, strict=True)]
        for table in (rows, prepare_query(config, rows))
    )
    cycles = await check_streams(dut, {"i": inputs}, {"o": (layout, expected)}, stalls)
    if not stalls:
        if component.rotate.rotate.cycles <= component.encode.interval:  # else rows wait for the one before
            assert_latency(cycles["i"], cycles["o"], component.latency)
        assert_full_rate(cycles["o"], component.interval)


@cocotb.test()
async def held(dut: Any) -> None:
    """Rows that wait until one may leave are gone as soon as golden.head_cycles counts on."""
    config, _ = job.read()
    bench, interval = Testbench(dut), PrepareQuery(config).interval
    bench.source("i", [0] * ROW_KINDS)
    rows = bench.sink("o", pauses=Pauses(1.0))
    await bench.reset()
    await bench.idle(ROW_KINDS * interval)
    assert not rows.cycles
    rows.pauses = Pauses()
    await bench.run(lambda: len(rows.cycles) == ROW_KINDS, limit=2 * ROW_KINDS * interval)
    took, counted = rows.cycles[-1] - rows.cycles[0], (ROW_KINDS - 1) * interval - head_start(config)
    assert abs(took - counted) <= MOST_OFF, f"{ROW_KINDS} rows took {took} cycles, counted {counted}"
