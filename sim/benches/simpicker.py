"""Bench of the complete core: heads from raw numbers to output, with all that it writes on the way, against golden."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from golden.config import Config
from golden.formats import FP16
from rtl import layouts
from rtl.counters import CYCLES, counters
from rtl.head import pooled, prepared
from sim import job
from sim.head_words import HeadWords, small_heads
from sim.pack import unpack
from sim.scoreboard import Scoreboard
from sim.testbench import Pauses, Testbench

Need = tuple[Scoreboard, int]
"""How many words of a stream must have been written."""

RESET_CYCLES = (1, 300, 1500, 4000)
"""Cycles after which work is interrupted by a reset."""


class Written(Pauses):
    """Stalls a source also until what it is to send next was written: the memory around the core."""

    def __init__(self, needs: Sequence[Need], probability: float, seed: int) -> None:
        super().__init__(probability, seed=seed)
        self.needs, self.sent = needs, 0

    def __call__(self) -> bool:
        """Whether this cycle is stalled; asked as long as nothing is offered."""
        if self.sent == len(self.needs):
            return True
        board, count = self.needs[self.sent]
        if board.compared < count or super().__call__():
            return True
        self.sent += 1
        return False


class Run:
    """One run over some heads: sources with the memory around the core, and a scoreboard on every output."""

    def __init__(self, dut: Any, config: Config, given: Sequence[HeadWords], stalls: float, seed: int) -> None:
        self.bench = Testbench(dut)
        streams = {"prepared": prepared(config), "output": layouts.row(config, FP16)}
        streams |= dict.fromkeys(("tiles", "cells"), pooled(config))
        self.boards = {
            name: Scoreboard(name, layout, [word for each in given for word in getattr(each, name)])
            for name, layout in streams.items()
        }
        self.rows = len(self.boards["output"].expected)
        self.limit = int((20_000 + sum(map(work, given))) / (1 - stalls) ** 4)
        raw = {"head": [each.head for each in given], "query": [word for each in given for word in each.query]}
        raw |= {name: [word for each in given for word in getattr(each, name) * 2] for name in ("key", "value")}
        for n, (name, words) in enumerate(raw.items()):
            self.bench.source(name, words, Pauses(stalls, seed=seed + n))
        for n, (name, (words, needs)) in enumerate(replayed(given, self.boards).items()):
            self.bench.source(name, words, Written(needs, stalls, seed + len(raw) + n))
        checks = {name: board.check for name, board in self.boards.items()} | {"output": self.check}
        self.sinks = {
            name: self.bench.sink(name, each, Pauses(stalls, seed=seed - n - 1))
            for n, (name, each) in enumerate(checks.items())
        }

    def check(self, word: int, cycle: int) -> None:
        """Compare a row of the output, and say how far it is."""
        output = self.boards["output"]
        output.check(word, cycle)
        job.progress(output.compared / self.rows)

    async def finish(self) -> None:
        """All that is expected comes, and nothing more."""
        await self.bench.run(lambda: not self.boards["output"].expected, self.limit)


def work(given: HeadWords) -> int:
    """More cycles than a head takes, if nothing stalls."""
    return 16 * (len(given.token) + len(given.cells)) * given.query_tiles + 64 * len(given.key)


@cocotb.test()
async def heads(dut: Any) -> None:
    """Inputs: `heads`, HeadWords one after the other (small random ones if none are given), and the probability of
    `stalls` on every port.
    """
    config, inputs = job.read()
    seed, stalls = cocotb.RANDOM_SEED, inputs.get("stalls", 0.0)
    dut._log.info(f"seed {seed}")
    dut.clear.value = 0
    run = Run(dut, config, inputs.get("heads") or small_heads(config, seed), stalls, seed)
    started = time.perf_counter()
    await run.bench.reset()
    await run.finish()
    seconds, cycles = time.perf_counter() - started, run.bench.cycle
    await run.bench.idle(config.tile)
    for board in run.boards.values():
        board.finish()
    counted = unpack(counters(config), int(dut.counters.value))
    total = sum(counted[name] for name in CYCLES)
    assert total == run.bench.cycle, f"counters: {total} cycles have a cause, of {run.bench.cycle}"
    job.report(
        cycles=cycles,
        words_compared=sum(board.compared for board in run.boards.values()),
        mismatches=0,
        first_output_cycle=run.sinks["output"].cycles[0],
        prepared_cycle=run.sinks["prepared"].cycles[-1],
        simulated_cycles_per_second=cycles / seconds,
        bench_share=run.bench.bench_seconds / seconds,
        counters=counted,
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
    for board in run.boards.values():
        board.finish()


def replayed(given: Sequence[HeadWords], boards: dict[str, Scoreboard]) -> dict[str, tuple[list[int], list[Need]]]:
    """What the memory sends for every query tile, and what must have been written before each word."""
    tokens: tuple[list[int], list[Need]] = ([], [])
    pools: tuple[list[int], list[Need]] = ([], [])
    before = dict.fromkeys(("prepared", "tiles", "cells"), 0)
    for each in given:
        needs = {
            name: [(boards[name], before[name] + n + 1) for n in range(len(getattr(each, name)))] for name in before
        }
        for _ in range(each.query_tiles):
            tokens[0].extend(each.token)
            tokens[1].extend(needs["prepared"])
            pools[0].extend(each.tiles + each.cells)
            pools[1].extend(needs["tiles"] + needs["cells"])
        for name in before:
            before[name] += len(needs[name])
    return {"token": tokens, "pooled": pools}
