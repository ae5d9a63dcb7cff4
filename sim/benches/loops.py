"""Bench of the loop counters: nests of random bounds, iterated here by loops in Python, events written out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ReadOnly, RisingEdge

from golden.config import Config, Tier
from golden.control import EVENTS, LOOPS
from rtl.loops import Loops
from sim import job
from sim.pack import pack, unpack
from sim.scoreboard import Mismatch
from sim.testbench import Testbench

KEY_TILES = 30


def iterations(config: Config, rng: np.random.Generator) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What is told and what must be found in every iteration; a key tile may be both the first and the last one."""
    passes = [config.passes(tier) for tier in Tier]
    for _ in range(KEY_TILES):
        first, final = (int(each) for each in rng.integers(0, 2, 2))
        rows, groups = (int(rng.integers(1, most, endpoint=True)) for most in (config.query_rows, config.max_groups))
        digits = rng.choice(passes, groups).tolist()
        for row in range(rows):
            for group in range(groups):
                for digit in range(digits[group]):
                    last_row, last_group, last_digit = row == rows - 1, group == groups - 1, digit == digits[group] - 1
                    limit = {"row": rows - 1, "group": groups - 1, "digit": digits[group] - 1}
                    now = {
                        "first": first,
                        "final": final,
                        "start": group == 0,
                        "end": last_group,
                        "last_digit": last_digit,
                        "row_end": last_group and last_digit,
                        "tile_end": last_row and last_group and last_digit,
                        "query_end": final and last_row,
                    }
                    told = {"limit": limit, "outer": {"key_tile": {"first": first, "last": final}}}
                    yield told, {"at": {"row": row, "group": group, "digit": digit}, "now": now}


@cocotb.test()
async def nests(dut: Any) -> None:
    """One key tile after the other, an iteration per cycle, with a pause in some of them."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    layouts = {name: member.shape for name, member in Loops(config, LOOPS, EVENTS).signature.members.items()}
    dut.step.value = 0
    await Testbench(dut).reset()
    compared = cycles = 0
    for told, wanted in iterations(config, rng):
        for step in (0, 1) if rng.random() < 0.2 else (1,):
            await RisingEdge(dut.clk)
            dut.step.value = step
            for name, values in told.items():
                getattr(dut, name).value = pack(layouts[name], values)
            await ReadOnly()
            cycles += 1
        for name, values in wanted.items():
            got = unpack(layouts[name], int(getattr(dut, name).value))
            if got != {field: int(value) for field, value in values.items()}:
                raise Mismatch(f"{name}: iteration {wanted['at']} of {told['limit']}: {got}, expected {values}")
            compared += len(values)
    job.report(words_compared=compared, cycles=cycles, mismatches=0)
