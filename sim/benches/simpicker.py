"""Bench of the complete core: heads from raw numbers to output, with all that it writes on the way, against golden."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from golden.config import Config
from rtl.counters import CYCLES, counters
from rtl.reuse import reused
from sim import job
from sim.head_words import HeadWords, small_heads
from sim.memory import Memory, Results
from sim.pack import unpack
from sim.scoreboard import Mismatch
from sim.testbench import Pauses, Testbench

RESET_CYCLES = (1, 300, 1500, 4000)
"""Cycles after which work is interrupted by a reset."""


class Run:
    """One run over some heads: raw tensors, the memory around the hardware, and the rows of its output."""

    def __init__(self, dut: Any, config: Config, given: Sequence[HeadWords], stalls: float, seed: int) -> None:
        self.bench = Testbench(dut)
        raw = {"head": [each.head for each in given], "query": [word for each in given for word in each.query]}
        raw |= {name: [word for each in given for word in getattr(each, name) * 2] for name in ("key", "value")}
        for n, (name, words) in enumerate(raw.items()):
            self.bench.source(name, words, Pauses(stalls, seed=seed + n))
        self.memory = Memory(self.bench, config, given, stalls, seed + len(raw))
        self.results = Results(config, given)
        self.outputs = [self.output(core, stalls, seed - core - 1) for core in range(config.cores)]
        self.rows = self.results.left
        self.limit = int((20_000 + sum(map(work, given))) / (1 - stalls) ** 4)

    def output(self, core: int, stalls: float, seed: int) -> Any:
        """Take the rows of a core, and say how far all are."""

        def check(word: int, cycle: int) -> None:
            self.results.check(core, word, cycle)
            job.progress(self.results.compared / self.rows)

        return self.bench.sink(f"output__{core}", check, Pauses(stalls, seed=seed))

    async def finish(self) -> int:
        """All that is expected comes, and nothing more. Returns the cycles up to the last row."""
        await self.bench.run(lambda: not self.results.left, self.limit)
        return self.bench.cycle


def work(given: HeadWords) -> int:
    """More cycles than a head takes, if nothing stalls."""
    return 16 * (len(given.token) + len(given.cells)) * given.query_tiles + 64 * len(given.key)


def counted(dut: Any, config: Config, given: Sequence[HeadWords], cycles: int) -> dict[str, Any]:
    """The counters of all cores, added up, once they are what golden expects; every cycle has a cause on every core."""
    each = [unpack(counters(config), int(getattr(dut, f"counters__{core}").value)) for core in range(config.cores)]
    for core, found in enumerate(each):
        total = sum(found[name] for name in CYCLES)
        if total != cycles:
            raise Mismatch(f"counters__{core}: {total} cycles have a cause, of {cycles}")
    if config.reuse_distance:
        wanted = sum(unpack(reused(config), word)["reused"] for head in given for word in head.reuse.reused)
        if (found := int(dut.rows_reused.value)) != wanted:
            raise Mismatch(f"rows_reused = {found}, expected {wanted}")
    found = {name: added([core[name] for core in each]) for name in each[0]}
    for name in asdict(given[0].counts):
        wanted = [asdict(head.counts)[name] for head in given]
        if None not in wanted and found[name] != added(wanted):
            raise Mismatch(f"counters: {name} = {found[name]}, expected {added(wanted)}")
    return found


def added(numbers: Sequence[Any]) -> Any:
    """The sum of numbers, or of lists of as many numbers one by one."""
    return sum(numbers) if isinstance(numbers[0], int) else [sum(each) for each in zip(*numbers, strict=True)]


@cocotb.test()
async def heads(dut: Any) -> None:
    """Inputs: `heads`, HeadWords one after the other (small random ones if none are given), and the probability of
    `stalls` on every port.
    """
    config, inputs = job.read()
    seed, stalls = cocotb.RANDOM_SEED, inputs.get("stalls", 0.0)
    dut._log.info(f"seed {seed}")
    dut.clear.value = 0
    given = inputs.get("heads") or small_heads(config, seed)
    run = Run(dut, config, given, stalls, seed)
    started = time.perf_counter()
    await run.bench.reset()
    cycles = await run.finish()
    seconds = time.perf_counter() - started
    await run.bench.idle(config.tile)
    job.report(
        cycles=cycles,
        words_compared=run.memory.finish() + run.results.finish(),
        mismatches=0,
        first_output_cycle=min(output.cycles[0] for output in run.outputs if output.cycles),
        prepared_cycle=run.memory.sinks["prepared"].cycles[-1],
        simulated_cycles_per_second=cycles / seconds,
        bench_share=run.bench.bench_seconds / seconds,
        rows_by_core=[len(output.cycles) for output in run.outputs],
        counters=counted(dut, config, given, run.bench.cycle),
    )


@cocotb.test()
async def reset(dut: Any) -> None:
    """A reset in the middle of work leaves nothing behind: afterwards all heads come out right."""
    config, inputs = job.read()
    if inputs.get("heads"):
        return
    seed = cocotb.RANDOM_SEED
    given = small_heads(config, seed)
    for n, cycles in enumerate(RESET_CYCLES):
        broken = Run(dut, config, given, 0.1, seed + n)
        await broken.bench.reset(start=not n)
        await broken.bench.idle(cycles)
        await RisingEdge(dut.clk)  # from where on ports may be driven
    run = Run(dut, config, given, 0.0, seed)
    await run.bench.reset(start=False)
    await run.finish()
    run.memory.finish()
    run.results.finish()
