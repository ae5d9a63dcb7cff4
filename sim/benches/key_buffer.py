"""Bench of the key buffer: the digits and scales of written tokens, compared with golden.digits."""

from __future__ import annotations

from typing import Any

import cocotb

from rtl.token_buffer import KeyBuffer
from sim.benches.token_buffer import PATTERNS, check_reads
from sim.streams import STALLS


@cocotb.test()
@cocotb.parametrize(pattern=PATTERNS, stalls=STALLS)
async def reads(dut: Any, pattern: str, stalls: float) -> None:
    """Words and beats in order; consecutive tokens at one beat per cycle."""
    await check_reads(dut, KeyBuffer, pattern, stalls)
