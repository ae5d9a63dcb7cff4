"""The common shape of a bench: words go into all input streams, and every output stream is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import cocotb
from amaranth.hdl import ShapeLike

from sim import job
from sim.scoreboard import Scoreboard
from sim.testbench import Pauses, Testbench

STALLS = (0.0, 0.3)
"""Probabilities of a stall with which every stream bench runs: none, to see latency and throughput; and many."""

DRAIN = 32
"""Cycles after the last expected word, in which nothing more may come."""


async def check_streams(
    dut: Any,
    inputs: Mapping[str, Sequence[int]],
    expected: Mapping[str, tuple[ShapeLike, Sequence[int]]],
    stalls: float = 0.0,
) -> dict[str, list[int]]:
    """Send `inputs`, packed words by stream, and compare the outputs with `expected`: layout and words by stream.

    Stalls of that probability begin on every port, seeded by cocotb's seed. Returns the cycles of all transfers, by
    stream. Reports `words_compared` and `cycles`.
    """
    seed = cocotb.RANDOM_SEED
    dut._log.info(f"seed {seed}")
    bench = Testbench(dut)
    boards = [Scoreboard(name, layout, words) for name, (layout, words) in expected.items()]
    sources = {
        name: bench.source(name, words, Pauses(stalls, seed=seed + n)) for n, (name, words) in enumerate(inputs.items())
    }
    sinks = {b.name: bench.sink(b.name, b.check, Pauses(stalls, seed=seed - n - 1)) for n, b in enumerate(boards)}
    await bench.reset()
    words = sum(len(board.expected) for board in boards) + sum(map(len, inputs.values()))
    await bench.run(
        lambda: all(source.done for source in sources.values()) and not any(board.expected for board in boards),
        limit=200 + int(40 * words / (1 - stalls) ** 2),
    )
    await finish(bench, boards)
    return {name: port.cycles for name, port in (sources | sinks).items()}


async def finish(bench: Testbench, boards: Sequence[Scoreboard]) -> None:
    """The end of every bench: nothing more may come, nothing may be left.

    Reports `words_compared` and `cycles`, added to those of earlier tests.
    """
    cycles = bench.cycle
    await bench.idle(DRAIN)
    for board in boards:
        board.finish()
    known = job.reported()
    job.report(
        words_compared=known.get("words_compared", 0) + sum(board.compared for board in boards),
        cycles=known.get("cycles", 0) + cycles,
        mismatches=0,
    )


def assert_latency(entered: Sequence[int], left: Sequence[int], latency: int) -> None:
    """Word for word, `left` comes `latency` cycles after `entered`."""
    assert len(entered) == len(left) > 0, f"{len(entered)} words entered, {len(left)} left"
    taken = [after - before for before, after in zip(entered, left, strict=True)]
    assert set(taken) == {latency}, f"latency {min(taken)}..{max(taken)} cycles, stated {latency}"


def assert_full_rate(cycles: Sequence[int], interval: int = 1) -> None:
    """One word every `interval` cycles, without a gap."""
    assert len(cycles) > 1, f"{len(cycles)} words tell no rate"
    gaps = {after - before for before, after in pairwise(cycles)}
    assert gaps == {interval}, f"words are {min(gaps)}..{max(gaps)} cycles apart, stated {interval}"
