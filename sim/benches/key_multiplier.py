"""Bench of the q . k multiplier, compared with golden.multiplier: see sim.benches.multiplier."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.align import align
from golden.config import Config
from golden.formats import FORMATS
from rtl import layouts
from sim import job
from sim.benches.multiplier import Multiplier, check_every_product, check_random
from sim.streams import STALLS


def key_multiplier() -> Multiplier:
    """The multiplier of the job."""
    config, _ = job.read()
    return Multiplier(
        config,
        layouts.key_operand(config),
        layouts.key_product(config),
        operands=config.head_dim,
        readers=config.lanes,
        most=config.query_max,
        step=config.key_digit_step,
    )


def aligned_mantissas(config: Config) -> NDArray[np.int64]:
    """Every mantissa that alignment can give: of all numbers up to each exponent, aligned to it."""
    form = FORMATS[config.float_format]
    tops = range(1, config.query_bits + 3)
    numbers = [np.arange((top + 1) << form.fraction_bits, dtype=np.uint16) for top in tops]
    magnitudes = np.unique(np.concatenate([align(config, bits).mantissa for bits in numbers]))
    return np.concatenate([magnitudes, -magnitudes])


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def dot_products(dut: Any, stalls: float) -> None:
    """Dot products and tags; one pass per cycle, also when every pass switches the table."""
    await check_random(dut, key_multiplier(), stalls)


@cocotb.test()
async def every_product(dut: Any) -> None:
    """All aligned mantissas times all digits."""
    multiplier = key_multiplier()
    await check_every_product(dut, multiplier, aligned_mantissas(multiplier.config))
