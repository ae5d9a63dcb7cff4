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
from sim.workload import Workload, small_workload


@cocotb.test()
async def attention(dut: Any) -> None:
    """Inputs: a `workload` (a small random one if none is given) and the probability of `stalls` on every port."""
    config, inputs = job.read()
    seed, stalls = cocotb.RANDOM_SEED, inputs.get("stalls", 0.0)
    work: Workload = inputs.get("workload") or small_workload(config, seed)
    words = core_words(config, work.operands, work.schedule)
    scoreboard = Scoreboard("output", layouts.output(config), output_words(work.expected))
    rows = len(work.expected)

    def check(word: int, cycle: int) -> None:
        scoreboard.check(word, cycle)
        job.progress(scoreboard.compared / rows)

    bench = Testbench(dut)
    dut._log.info(f"seed {seed}")
    sources = [
        bench.source(name, getattr(words, name), Pauses(stalls, seed=seed + n))
        for n, name in enumerate(("query", "token", "group"))
    ]
    output = bench.sink("output", check, Pauses(stalls, seed=seed - 1))
    passes = work.schedule.passes(config)
    started = time.perf_counter()
    await bench.reset()
    limit = int((10_000 + 4 * (passes + len(words.token))) / (1 - stalls) ** 4)
    await bench.run(lambda: not scoreboard.expected, limit)
    seconds, cycles = time.perf_counter() - started, bench.cycle
    bench_share = bench.bench_seconds / seconds
    await bench.idle(config.tile)
    scoreboard.finish()
    for source in sources:
        assert source.done, f"{source.name}: the core finished without having taken all of its input"
    job.report(
        cycles=cycles,
        passes=passes,
        words_compared=scoreboard.compared * config.head_dim,
        mismatches=0,
        first_output_cycle=output.cycles[0],
        simulated_cycles_per_second=cycles / seconds,
        bench_share=bench_share,
    )
