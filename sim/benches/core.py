"""Bench of the core: a whole scheduled attention, compared row by row with golden.attention."""

from __future__ import annotations

import time
from typing import Any

import cocotb

from rtl import layouts
from sim import job
from sim.core_words import core_words, output_words
from sim.scoreboard import Scoreboard
from sim.testbench import Pauses, Testbench


@cocotb.test()
async def attention(dut: Any) -> None:
    """Inputs: operands, schedule, expected output rows, and the probability of stalls on every port."""
    config, inputs = job.read()
    words = core_words(config, inputs["operands"], inputs["schedule"])
    scoreboard = Scoreboard("output", layouts.output(config), output_words(inputs["expected"]))
    bench = Testbench(dut)
    seed, stalls = cocotb.RANDOM_SEED, inputs.get("stalls", 0.0)
    dut._log.info(f"seed {seed}")
    sources = [
        bench.source(name, getattr(words, name), Pauses(stalls, seed=seed + n))
        for n, name in enumerate(("query", "token", "group"))
    ]
    output = bench.sink("output", scoreboard.check, Pauses(stalls, seed=seed - 1))
    passes = inputs["schedule"].passes(config)
    started = time.perf_counter()
    await bench.reset()
    await bench.run(
        lambda: not scoreboard.expected, limit=int((10_000 + 4 * (passes + len(words.token))) / (1 - stalls) ** 4)
    )
    seconds = time.perf_counter() - started
    scoreboard.finish()
    for source in sources:
        assert source.done, "the core finished without having taken all of its input"
    cycles = bench.cycle
    job.report(
        cycles=cycles,
        passes=passes,
        words_compared=scoreboard.compared * config.head_dim,
        mismatches=0,
        first_output_cycle=output.cycles[0],
        simulated_cycles_per_second=cycles / seconds,
    )
