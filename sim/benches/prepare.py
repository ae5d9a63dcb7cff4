"""Bench of the preparation: heads of keys and values, twice each, and all that becomes of them."""

from __future__ import annotations

from typing import Any

import cocotb

from rtl.head import measured, pooled, prepared
from sim import job
from sim.head_words import HeadWords, small_heads
from sim.streams import assert_full_rate, check_streams


@cocotb.test()
async def heads(dut: Any) -> None:
    """With random stalls on all streams."""
    config, _ = job.read()
    await prepare(dut, small_heads(config, cocotb.RANDOM_SEED), 0.2)


@cocotb.test()
async def rate(dut: Any) -> None:
    """Without stalls a row takes prepare_interval cycles in the second pass, and all keys are pooled before a value."""
    config, _ = job.read()
    given = small_heads(config, cocotb.RANDOM_SEED)[:1]
    cycles = await prepare(dut, given, 0.0)
    assert_full_rate(cycles["prepared"], config.prepare_interval)
    first_value = cycles["prepared"][len(given[0].token)]
    assert max(cycles["cells"][-1], cycles["tiles"][-1]) < first_value, "speculation would wait for values"


async def prepare(dut: Any, given: list[HeadWords], stalls: float) -> dict[str, list[int]]:
    """The cycles of all transfers."""
    config, _ = job.read()
    inputs = {"head": [each.head for each in given]}
    inputs |= {name: [word for each in given for word in getattr(each, name) * 2] for name in ("key", "value")}
    expected = {
        name: (layout, [word for each in given for word in getattr(each, name)])
        for name, layout in (("prepared", prepared(config)), ("tiles", pooled(config)), ("cells", pooled(config)))
    }
    expected["measured"] = measured(config), [each.measured for each in given]
    return await check_streams(dut, inputs, expected, stalls)
