"""Bench of the aligner: every kind of floating-point number, compared with golden.align."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from golden.align import align
from golden.config import Config
from golden.formats import FORMATS
from rtl import layouts
from rtl.align import Align
from sim import job
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, assert_latency, check_streams

ROWS = 300


def rows(config: Config, rng: np.random.Generator) -> np.ndarray:
    """Rows of random bits, so of all exponents, subnormal numbers, zeros, infinities and NaNs; and of close ones."""
    form = FORMATS[config.float_format]
    bits = rng.integers(0, 1 << form.bits, (ROWS, config.head_dim), np.uint16)
    close = form.encode(rng.standard_normal((ROWS, config.head_dim)) * np.exp2(rng.integers(-24, 12, (ROWS, 1))))
    kind = np.arange(ROWS) % 4
    bits = np.where((kind > 0)[:, None], close, bits)
    bits[kind == 2, 0] = form.nan
    bits[kind == 3, 1:] &= 1 << (form.bits - 1)
    bits[-1] = 0
    return bits


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def aligned(dut: Any, stalls: float) -> None:
    """Mantissas, exponent and invalid mark; one row per cycle."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bits = rows(config, rng)
    output_exponent = rng.integers(-128, 128, ROWS).tolist()
    last = rng.integers(0, 2, ROWS).tolist()
    golden = align(config, bits)
    words = [
        pack(layouts.query(config), {"elements": row, "output_exponent": output_exponent[n], "last": last[n]})
        for n, row in enumerate(bits.tolist())
    ]
    expected = [
        pack(
            layouts.aligned(config),
            {
                "mantissa": mantissa,
                "tag": {
                    "exponent": golden.exponent[n],
                    "info": {"output_exponent": output_exponent[n], "invalid": golden.invalid[n]},
                },
                "last": last[n],
            },
        )
        for n, mantissa in enumerate(golden.mantissa.tolist())
    ]
    cycles = await check_streams(dut, {"i": words}, {"o": (layouts.aligned(config), expected)}, stalls)
    if not stalls:
        assert_latency(cycles["i"], cycles["o"], Align.latency)
        assert_full_rate(cycles["i"])
