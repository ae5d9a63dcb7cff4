"""Bench of the pool of keys, whose exponents are all equal: sums of parts, compared with golden.pool."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from rtl.pool import key_form
from sim import job
from sim.benches.pool import PARTS, check_pool, random_rows
from sim.streams import STALLS, assert_full_rate


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def sums(dut: Any, stalls: float) -> None:
    """Sums of rows; one row per cycle."""
    config, _ = job.read()
    rng, form = np.random.default_rng(cocotb.RANDOM_SEED), key_form(config)
    taken = await check_pool(dut, config, form, random_rows(config, form, rng, PARTS), stalls)
    if not stalls:
        assert_full_rate(taken)
