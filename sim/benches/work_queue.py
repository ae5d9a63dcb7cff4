"""Bench of the work queue: cores of unlike speed are given the query tiles of some heads."""

from __future__ import annotations

from typing import Any

import cocotb

from rtl.head import job
from rtl.places import placed
from sim import job as given_job
from sim.head_words import HeadWords, job_words, small_heads
from sim.pack import unpack
from sim.scoreboard import Mismatch
from sim.streams import DRAIN
from sim.testbench import Pauses, Testbench

SLOWER = 0.2
"""By how much more every core pauses than the one before."""

FAIR = 0.7
"""Share of what it would be given if all were alike that each core gets at least."""


@cocotb.test()
async def stalls(dut: Any) -> None:
    """Random stalls on all streams: every tile goes to one core, whole and in order."""
    await give(dut, 0.3)


@cocotb.test()
async def rate(dut: Any) -> None:
    """Without stalls a row per cycle, and a few cycles between tiles."""
    config, _ = given_job.read()
    given = small_heads(config, cocotb.RANDOM_SEED)
    cycles = await give(dut, 0.0)
    tiles, rows = sum(each.query_tiles for each in given), sum(len(each.query) for each in given)
    most = rows + tiles * (2 + config.cores) + len(given)
    assert cycles[-1] - cycles[0] < most, f"{cycles[-1] - cycles[0]} cycles for {rows} rows of {tiles} tiles: {most}"


async def give(dut: Any, stall: float) -> list[int]:
    """The cycles in which rows were taken."""
    config, _ = given_job.read()
    seed = cocotb.RANDOM_SEED
    dut._log.info(f"seed {seed}")
    given = small_heads(config, seed)
    bench = Testbench(dut)
    inputs = {
        "head": [each.head for each in given],
        "measured": [each.measured for each in given],
        "query": [word for each in given for word in each.rotated],
    }
    sources = [
        bench.source(name, words, Pauses(stall, seed=seed + n)) for n, (name, words) in enumerate(inputs.items())
    ]
    cores = range(config.cores)

    def sink(name: str, core: int) -> Any:
        return bench.sink(f"{name}__{core}", None, Pauses(min(0.9, stall * (1 + SLOWER * core)), seed=seed - core - 1))

    jobs, rows = ([sink(name, core) for core in cores] for name in ("job", "rows"))
    await bench.reset()
    await bench.run(lambda: all(source.done for source in sources), 200 + 100 * len(inputs["query"]))
    await bench.idle(DRAIN)
    compared = check(config, given, jobs, rows)
    given_tiles = [len(each.words) for each in jobs]
    assert min(given_tiles) * config.cores > FAIR * sum(given_tiles), f"query tiles by core: {given_tiles}"
    known = given_job.reported()
    given_job.report(
        words_compared=known.get("words_compared", 0) + compared,
        cycles=known.get("cycles", 0) + bench.cycle,
        mismatches=0,
        tiles_by_core=given_tiles,
    )
    return sources[-1].cycles


def check(config: Any, given: list[HeadWords], jobs: list[Any], rows: list[Any]) -> int:
    """Put together what the cores got: all tiles, each once. Returns how many words were compared."""
    wanted = dict(zip(job_words(config, given), tiles(given), strict=True))
    compared = 0
    for core, (asked, words) in enumerate(zip(jobs, rows, strict=True)):
        left = list(words.words)
        for n, word in enumerate(asked.words):
            where = f"core {core}, job {n}, cycle {asked.cycles[n]}"
            if word not in wanted:
                raise Mismatch(f"{where}: {unpack(job(config), word)} is no job, or was given before")
            expected = wanted.pop(word)
            got, left = left[: len(expected)], left[len(expected) :]
            if got != expected:
                row = next(n for n, pair in enumerate(zip(got, expected, strict=False)) if pair[0] != pair[1])
                raise Mismatch(f"{where}, row {row}: {unpack(placed(config), got[row])}")
            compared += 1 + len(expected)
        if left:
            raise Mismatch(f"core {core}: {len(left)} rows more than its jobs have")
    if wanted:
        raise Mismatch(f"{len(wanted)} jobs were given to nobody")
    return compared


def tiles(given: list[HeadWords]) -> list[list[int]]:
    """The rows of every query tile."""
    return [
        each.rotated[start:end]
        for each in given
        for start, end in zip(each.row_start[:-1], each.row_start[1:], strict=True)
    ]
