"""Bench of the tier buffer: tiers of pieces become tiers of tokens."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from golden.config import Config, Tier
from rtl.group import tiered
from rtl.tier_buffer import TierBuffer, judged
from sim import job
from sim.pack import pack
from sim.streams import assert_full_rate, assert_latency, check_streams


@cocotb.test()
async def stalled(dut: Any) -> None:
    """Query tiles that meet few and many tokens, with random stalls."""
    await run(dut, [1, 2, 17, 64, 5, 33, 100, 1], 0.2)


@cocotb.test()
async def rate(dut: Any) -> None:
    """Without stalls a token leaves in every cycle, the first one soon after the last piece."""
    cycles = await run(dut, [200], 0.0)
    assert_full_rate(cycles["o"])
    assert_latency(cycles["i"][-1:], cycles["o"][:1], TierBuffer.latency)


async def run(dut: Any, sizes: list[int], stalls: float) -> dict[str, list[int]]:
    """The cycles of all transfers."""
    config, _ = job.read()
    rng = random.Random(cocotb.RANDOM_SEED)
    pieces, tokens = [], []
    for size in sizes:
        tiers = [rng.choice(list(Tier)) for _ in range(-(-size // config.piece))]
        pieces += [
            pack(judged(config), {"tier": tier, "tokens": size, "last": n == len(tiers) - 1})
            for n, tier in enumerate(tiers)
        ]
        tokens += [token(config, n, size, tiers[n // config.piece]) for n in range(size)]
    return await check_streams(dut, {"i": pieces}, {"o": (tiered(config), tokens)}, stalls)


def token(config: Config, n: int, size: int, tier: Tier) -> int:
    """The n-th token of a query tile's keys."""
    last = n == size - 1
    ends = last or (n + 1) % config.tile == 0
    return pack(tiered(config), {"tier": tier, "shown": 1, "last": ends, "final": last})
