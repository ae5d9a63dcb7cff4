"""Bench of the speculation: rotated queries and pooled keys become tiers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cocotb

from golden.head_cycles import speculation
from rtl import layouts
from rtl.tier_buffer import judged
from sim import job
from sim.head_words import job_words, small_heads, small_plans
from sim.streams import check_streams


@cocotb.test()
async def heads(dut: Any) -> None:
    """With random stalls on all streams."""
    await speculate(dut, 0.2)


@cocotb.test()
async def rate(dut: Any) -> None:
    """Without stalls, tiers take the cycles that are declared: see golden.control.SPECULATION."""
    config, _ = job.read()
    cycles = (await speculate(dut, 0.0))["judged"]
    compared = 0
    for made in small_plans(config, cocotb.RANDOM_SEED):
        tiles, pieces = made.tiers.shape
        ends, cycles = cycles[pieces - 1 : tiles * pieces : pieces], cycles[tiles * pieces :]
        stated = [sum(steps.values()) for steps in speculation(config, made)[1:]]
        taken = [after - before for before, after in pairwise(ends)]
        assert taken == stated, f"query tiles took {taken} cycles, stated {stated}"
        compared += len(taken)
    assert compared > 20, f"only {compared} query tiles followed another"


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
