"""Workloads of the core: operands and a schedule, with the output that golden expects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from golden.attention import Operands, attention
from golden.config import Config, Tier
from golden.layer import Plan, plan
from golden.prepare import prepare
from golden.schedule import Schedule, schedule
from golden.traces import Head


@dataclasses.dataclass(frozen=True)
class Workload:
    """All that the core computes of one head."""

    operands: Operands
    schedule: Schedule
    expected: NDArray[np.uint16]
    """[rows, head_dim], FP16 bits"""


def planned(config: Config, made: Plan, progress: Callable[[int], None] = lambda rows: None) -> Workload:
    """The workload of a plan; `progress` is told the rows that golden finishes."""
    expected = attention(config, made.operands, made.grouping.schedule, progress)
    return Workload(made.operands, made.grouping.schedule, expected)


def workload(
    config: Config,
    head: Head,
    tiers: Tier | NDArray[np.int8] | None = None,
    mask: NDArray[np.bool_] | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Workload:
    """The workload of a head: planned if no tiers are given, else with a single tier for every block, or those given.

    `mask` [tokens], in tile order, hides keys where tiers are given; `progress` is told the rows that golden finishes.
    """
    if tiers is None:
        return planned(config, plan(config, [head])[0], progress)
    prepared = prepare(config, head)
    rows, columns = prepared.query_tiles, prepared.key_tiles
    if isinstance(tiers, Tier):
        tiers = np.full((len(rows.frame), len(columns.frame)), tiers, np.int8)
    made = schedule(config, rows.start, columns.start, tiers, mask)
    return Workload(prepared.operands, made, attention(config, prepared.operands, made, progress))


def random_head(
    config: Config, grid: tuple[int, int, int], text_tokens: int = 0, seed: int = 0, scale: float = 1.0
) -> Head:
    """A head of normally distributed q, k and v; q and k have the standard deviation `scale`."""
    rng = np.random.default_rng(seed)
    shape = (int(np.prod(grid)) + text_tokens, config.head_dim)
    q, k, v = (rng.standard_normal(shape).astype(np.float32) for _ in range(3))
    return Head(f"random{seed}", q * np.float32(scale), k * np.float32(scale), v, grid, text_tokens)


def framed_head(config: Config, grid: tuple[int, int, int], text_tokens: int, seed: int, strength: float) -> Head:
    """A random head whose frames look at themselves: speculation skips the others, as far as it may."""
    head = random_head(config, grid, text_tokens, seed)
    direction = np.random.default_rng(seed).standard_normal((grid[0], config.head_dim)).astype(np.float32)
    shift = np.repeat(direction * np.float32(strength), grid[1] * grid[2], axis=0)
    for tensor in (head.q, head.k):
        tensor[text_tokens:] += shift
    return head


def moving_head(
    config: Config, grid: tuple[int, int, int], text_tokens: int, moved: float, seed: int, broken: float = 0.0
) -> Head:
    """A head whose rows are near to those of the frame before, but for a share that moved.

    A share of the elements of rows is NaN or infinite.
    """
    head, rng = random_head(config, grid, text_tokens, seed), np.random.default_rng(seed)
    frames, size = grid[0], grid[1] * grid[2]
    video = head.q[text_tokens:].reshape(frames, size, config.head_dim)
    noise = np.float32((config.reuse_distance or 0.1) / 4) * rng.standard_normal(video.shape).astype(np.float32)
    for before, here in pairwise(video):
        here[:] = np.where(rng.random((size, 1)) < moved, here, before)
    video += noise
    rows = np.flatnonzero(rng.random(len(head.q)) < broken)
    head.q[rows, rng.integers(0, config.head_dim, len(rows))] = rng.choice([np.nan, np.inf, -np.inf], len(rows))
    return head


def small_workload(config: Config, seed: int) -> Workload:
    """A random one that exercises everything: a tier for every key, text, masked keys, partial tiles, several tiles."""
    head = random_head(config, (2, 6, -(-config.tile // 6) + 3), text_tokens=config.tile // 2 + 3, seed=seed)
    rng = np.random.default_rng(seed)
    tokens = len(head.q)
    query_tiles = len(prepare(config, head).query_tiles.frame)
    tiers = rng.integers(min(Tier), max(Tier) + 1, (query_tiles, tokens)).astype(np.int8)
    return workload(config, head, tiers, rng.random(tokens) < 0.1)
