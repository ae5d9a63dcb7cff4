"""Bench of the p . v multiplier, compared with golden.multiplier: see sim.benches.multiplier."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from rtl import layouts
from sim import job
from sim.benches.multiplier import Multiplier, check_every_product, check_random
from sim.streams import STALLS

WEIGHTS = 1 << 13
"""Weights of the exhaustive test: all of them up to 14 bits, evenly spaced ones of more."""


def value_multiplier() -> Multiplier:
    """The multiplier of the job."""
    config, _ = job.read()
    return Multiplier(
        config,
        layouts.value_operand(config),
        layouts.value_product(config),
        operands=config.lanes,
        readers=config.head_dim,
        most=config.prob_max,
        step=config.value_digit_step,
    )


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def dot_products(dut: Any, stalls: float) -> None:
    """Dot products and tags; one pass per cycle, also when every pass switches the table."""
    await check_random(dut, value_multiplier(), stalls)


@cocotb.test()
async def every_product(dut: Any) -> None:
    """All weights times all digits."""
    multiplier = value_multiplier()
    weights = np.linspace(0, multiplier.most, min(WEIGHTS, multiplier.most + 1)).astype(np.int64)
    await check_every_product(dut, multiplier, weights)
