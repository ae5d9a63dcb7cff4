"""Workloads of the core: a head, prepared, speculated and scheduled, with the output that golden expects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from golden.attention import attention
from golden.config import Config, Tier
from golden.prepare import Prepared, prepare
from golden.schedule import Schedule, schedule
from golden.speculate import speculate
from golden.traces import Head


@dataclasses.dataclass(frozen=True)
class Workload:
    """All that the core computes of one head, and how."""

    head: Head
    prepared: Prepared
    tiers: NDArray[np.int8]
    """[query_tiles, key_tiles], or [query_tiles, tokens] where every key has its own"""
    schedule: Schedule
    expected: NDArray[np.uint16]
    """[rows, head_dim], FP16 bits in tile order"""


def workload(
    config: Config,
    head: Head,
    tiers: Tier | NDArray[np.int8] | None = None,
    mask: NDArray[np.bool_] | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Workload:
    """The workload of a head: speculated tiers if none are given, a single tier for every block, or those given.

    `mask` [tokens], in tile order, hides keys; `progress` is told the rows that golden finishes.
    """
    prepared = prepare(config, head)
    blocks = len(prepared.query_tiles.frame), len(prepared.key_tiles.frame)
    if tiers is None:
        tiers = speculate(config, prepared).tiers
    elif isinstance(tiers, Tier):
        tiers = np.full(blocks, tiers, np.int8)
    plan = schedule(config, prepared.query_tiles.start, prepared.key_tiles.start, tiers, mask)
    return Workload(head, prepared, tiers, plan, attention(config, prepared.operands, plan, progress))


def random_head(
    config: Config, grid: tuple[int, int, int], text_tokens: int = 0, seed: int = 0, scale: float = 1.0
) -> Head:
    """A head of normally distributed q, k and v; q and k have the standard deviation `scale`."""
    rng = np.random.default_rng(seed)
    shape = (int(np.prod(grid)) + text_tokens, config.head_dim)
    q, k, v = (rng.standard_normal(shape).astype(np.float32) for _ in range(3))
    return Head(f"random{seed}", q * np.float32(scale), k * np.float32(scale), v, grid, text_tokens)


def small_workload(config: Config, seed: int) -> Workload:
    """A random one that exercises everything: a tier for every key, text, masked keys, partial tiles, several tiles."""
    head = random_head(config, (2, 6, -(-config.tile // 6) + 3), text_tokens=config.tile // 2 + 3, seed=seed)
    rng = np.random.default_rng(seed)
    tokens = len(head.q)
    query_tiles = len(prepare(config, head).query_tiles.frame)
    tiers = rng.integers(min(Tier), max(Tier) + 1, (query_tiles, tokens)).astype(np.int8)
    return workload(config, head, tiers, rng.random(tokens) < 0.1)
