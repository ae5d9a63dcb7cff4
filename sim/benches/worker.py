"""Bench of a core behind the work queue: query tiles of some heads become rows of their output."""

from __future__ import annotations

from typing import Any

import cocotb

from golden.config import Config
from rtl import layouts
from rtl.counters import counters
from rtl.head import result
from sim import job
from sim.head_words import HeadWords, job_words, small_heads
from sim.pack import pack, unpack
from sim.streams import check_streams


@cocotb.test()
async def stalls(dut: Any) -> None:
    """With random stalls on all streams."""
    await compute(dut, 0.2)


@cocotb.test()
async def rate(dut: Any) -> None:
    """Without stalls most cycles are passes, speculation and short heads included."""
    config, _ = job.read()
    await compute(dut, 0.0)
    found = unpack(counters(config), int(dut.counters.value))
    assert found["busy"] > LEAST * (found["busy"] + found["waits_group"]), f"{found}"


LEAST = 0.5
"""Share of passes, where heads are so small that speculating a query tile takes longer than computing it."""


async def compute(dut: Any, stalls: float) -> dict[str, list[int]]:
    """The cycles of all transfers."""
    config, _ = job.read()
    given = small_heads(config, cocotb.RANDOM_SEED)
    inputs = {
        "job": job_words(config, given),
        "query": [word for each in given for word in each.rotated],
        "pooled": [word for each in given for word in (each.tiles + each.cells) * each.query_tiles],
        "token": [word for each in given for word in each.token * each.query_tiles],
    }
    numbers = [number % (1 << config.head_number_bits) for number in range(len(given))]
    fetched = [number for number, each in zip(numbers, given, strict=True) for _ in range(each.query_tiles)]
    expected = {
        "fetch": (config.head_number_bits, fetched),
        "output": (result(config), [word for pair in zip(numbers, given, strict=True) for word in rows(config, *pair)]),
    }
    dut.clear.value = 0
    return await check_streams(dut, inputs, expected, stalls)


def rows(config: Config, number: int, given: HeadWords) -> list[int]:
    """The output of a head, with places."""
    ends = set(given.row_start)
    return [
        pack(
            result(config),
            {"elements": unpack(layouts.output(config), word), "number": number, "row": row, "last": row + 1 in ends},
        )
        for row, word in enumerate(given.output)
    ]
