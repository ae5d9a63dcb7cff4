"""Bench of the core: a whole scheduled attention, compared row by row with golden.attention; and its counters."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import cocotb

from golden.config import Config
from golden.counters import expected
from golden.schedule import Schedule
from rtl import layouts
from rtl.counters import CYCLES, counters
from sim import job
from sim.core_words import core_words, output_words
from sim.pack import flat, unpack
from sim.scoreboard import Scoreboard
from sim.testbench import Pauses, Testbench
from sim.workload import Workload, small_workload

CLEAR_CYCLES = 2
"""From `clear` to counters at zero."""


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
    clear = Clear(dut)
    bench.ports.append(clear)
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
    counted = read_counters(dut, config)
    check_counters(counted, config, work.schedule, bench.cycle)
    await check_clear(dut, config, bench, clear)
    job.report(
        cycles=cycles,
        passes=passes,
        words_compared=scoreboard.compared * config.head_dim,
        mismatches=0,
        first_output_cycle=output.cycles[0],
        simulated_cycles_per_second=cycles / seconds,
        bench_share=bench_share,
        counters=counted,
    )


class Clear:
    """The input `clear` as a port of the bench: high in a cycle if `wanted`."""

    name = "clear"

    def __init__(self, dut: Any) -> None:
        self.port, self.wanted, self.driven = dut.clear, False, False
        self.cycles: list[int] = []
        self.port.value = 0

    def drive(self) -> None:
        """Set the port after the clock's edge."""
        if self.wanted != self.driven:
            self.port.value = self.driven = self.wanted

    def sample(self, cycle: int) -> None:
        """Remember when."""
        if self.wanted:
            self.cycles.append(cycle)


def read_counters(dut: Any, config: Config) -> dict[str, Any]:
    """All counters, by name."""
    return unpack(counters(config), int(dut.counters.value))


def check_counters(counted: dict[str, Any], config: Config, schedule: Schedule, cycles: int) -> None:
    """Every cycle since reset has one cause, and the work is that of the schedule, however the streams stalled."""
    total = sum(counted[name] for name in CYCLES)
    assert total == cycles, f"counters: {total} cycles have a cause, of {cycles}"
    for name, count in dataclasses.asdict(expected(config, schedule)).items():
        found = tuple(counted[name]) if isinstance(count, tuple) else counted[name]
        assert count is None or found == count, f"counters: {name} = {found}, expected {count}"


async def check_clear(dut: Any, config: Config, bench: Testbench, clear: Clear) -> None:
    """`clear` is registered, then all counters are zero; from there on the idle cycles count."""
    clear.wanted = True
    await bench.step()
    clear.wanted = False
    await bench.idle(CLEAR_CYCLES)
    for idle in (0, 1):
        counted = read_counters(dut, config)
        others = {name: count for name, count in counted.items() if name != "idle"}
        assert counted["idle"] == idle, f"counters: {counted['idle']} idle cycles after clear, expected {idle}"
        assert not any(flat(others).values()), f"counters: not cleared: {others}"
        await bench.step()
