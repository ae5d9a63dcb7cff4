"""Bench of the speculation: rotated queries and pooled keys become tiers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cocotb

from rtl import layouts
from rtl.tier_buffer import judged
from sim import job
from sim.head_words import job_words, small_heads
from sim.streams import check_streams


@cocotb.test()
async def heads(dut: Any) -> None:
    """With random stalls on all streams."""
    await speculate(dut, 0.2)


@cocotb.test()
async def rate(dut: Any) -> None:
    """Without stalls the last rank of a query tile comes in time: see `Estimate`."""
    config, _ = job.read()
    cycles = await speculate(dut, 0.0)
    given = small_heads(config, cocotb.RANDOM_SEED)[0]
    queries = config.query_rows // config.cell
    pieces = len(given.judged) // given.query_tiles
    one = len(given.tiles) + queries * (len(given.cells) + pieces) + config.query_rows + FEW
    ends = cycles["judged"][pieces - 1 : given.query_tiles * pieces : pieces]
    taken = [after - before for before, after in pairwise(ends)]
    assert max(taken) <= one, f"a query tile took {max(taken)} cycles, at most {one} are stated"


FEW = 100
"""Cycles of all latencies."""


async def speculate(dut: Any, stalls: float) -> dict[str, list[int]]:
    """The cycles of all transfers."""
    config, _ = job.read()
    given = small_heads(config, cocotb.RANDOM_SEED)
    inputs = {
        "job": job_words(config, given),
        "query": [word for each in given for word in each.rotated],
        "pooled": [word for each in given for word in (each.tiles + each.cells) * each.query_tiles],
    }
    expected = {
        "rows": (layouts.query(config), [word for each in given for word in each.rows]),
        "judged": (judged(config), [word for each in given for word in each.judged]),
    }
    return await check_streams(dut, inputs, expected, stalls)
