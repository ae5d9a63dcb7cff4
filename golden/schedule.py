"""The schedule: which tokens meet in the key lanes, in which order, at which tier."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from golden.config import Config, Tier


@dataclasses.dataclass(frozen=True)
class LaneGroup:
    """Tokens of one key tile that meet a query row at once, all at one tier."""

    tier: Tier
    tokens: NDArray[np.int64]
    """[lanes], index in the tile; inactive lanes repeat an active lane's token, which costs no bank"""
    active: NDArray[np.bool_]
    """[lanes]"""


@dataclasses.dataclass(frozen=True)
class Block:
    """One key tile as a query tile meets it."""

    key_tile: int
    groups: tuple[LaneGroup, ...]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What the core executes: for every query tile its blocks, in order."""

    query_start: NDArray[np.int64]
    """[query_tiles + 1], first row of every query tile"""
    key_start: NDArray[np.int64]
    """[key_tiles + 1], first token of every key tile"""
    blocks: tuple[tuple[Block, ...], ...]
    """[query_tiles][...]"""

    def passes(self, config: Config) -> int:
        """Cycles in which both arrays are busy, over all rows."""
        rows = np.diff(self.query_start)
        return sum(
            int(n) * sum(config.passes(g.tier) for block in blocks for g in block.groups)
            for n, blocks in zip(rows, self.blocks, strict=True)
        )

    def products(self, config: Config) -> int:
        """Table lookups that serve an active lane, in both arrays."""
        rows = np.diff(self.query_start)
        return sum(
            int(n)
            * 2
            * config.head_dim
            * sum(config.passes(g.tier) * int(g.active.sum()) for b in blocks for g in b.groups)
            for n, blocks in zip(rows, self.blocks, strict=True)
        )

    def tier_shares(self) -> dict[str, float]:
        """Share of the (row, key) pairs in every tier."""
        rows = np.diff(self.query_start)
        pairs = dict.fromkeys(Tier, 0)
        for n, blocks in zip(rows, self.blocks, strict=True):
            for group in (g for b in blocks for g in b.groups):
                pairs[group.tier] += int(n) * int(group.active.sum())
        total = max(1, sum(pairs.values()))
        return {tier.name: pairs[tier] / total for tier in Tier}


def lane_groups(
    config: Config, tiers: NDArray[np.int8], mask: NDArray[np.bool_] | None = None
) -> tuple[LaneGroup, ...]:
    """Pack the tokens of a key tile, tiers [tokens], into lane groups: highest tier first, tokens in order.

    Tokens where `mask` [tokens] is true take no part. A tile without any token left gives one inactive group, so
    that every tile is seen. At most `config.max_groups` groups result.
    """
    if not 1 <= len(tiers) <= config.tile:
        raise ValueError(f"tiers of {len(tiers)} tokens: a key tile has 1..{config.tile}")
    keep = np.ones(len(tiers), bool) if mask is None else ~mask
    groups = []
    for tier in sorted(Tier, reverse=True):
        tokens = np.flatnonzero((tiers == tier) & keep)
        for start in range(0, len(tokens), config.lanes):
            chunk = tokens[start : start + config.lanes]
            lanes = np.full(config.lanes, chunk[0])
            lanes[: len(chunk)] = chunk
            groups.append(LaneGroup(tier, lanes, np.arange(config.lanes) < len(chunk)))
    return tuple(groups) or (LaneGroup(Tier.LUT4, np.zeros(config.lanes, np.int64), np.zeros(config.lanes, bool)),)


def schedule(
    config: Config,
    query_start: Sequence[int] | NDArray[np.int64],
    key_start: Sequence[int] | NDArray[np.int64],
    tiers: NDArray[np.int8],
    mask: NDArray[np.bool_] | None = None,
) -> Schedule:
    """Schedule every key tile for every query tile.

    `tiers` is per block, [query_tiles, key_tiles], or per key, [query_tiles, tokens]; `mask` [tokens] hides keys from
    all rows. Shapes that fit neither raise ValueError.
    """
    query_start, key_start = np.asarray(query_start, np.int64), np.asarray(key_start, np.int64)
    tokens, sizes = int(key_start[-1]), np.diff(key_start)
    for name, starts, most in (("query_start", query_start, config.query_rows), ("key_start", key_start, config.tile)):
        if starts[0] != 0 or np.diff(starts).min() < 1 or np.diff(starts).max() > most:
            raise ValueError(f"{name}: must rise from 0 in steps of 1..{most}")
    if tiers.shape == (len(query_start) - 1, len(sizes)):
        tiers = np.repeat(tiers, sizes, axis=1)
    if tiers.shape != (len(query_start) - 1, tokens):
        raise ValueError(
            f"tiers of shape {tiers.shape}: must be [{len(query_start) - 1}, {len(sizes)}] or [..., {tokens}]"
        )
    hidden = np.zeros(tokens, bool) if mask is None else mask
    known: dict[bytes, tuple[LaneGroup, ...]] = {}

    def groups(row: NDArray[np.int8], start: int, stop: int) -> tuple[LaneGroup, ...]:
        key = row[start:stop].tobytes() + hidden[start:stop].tobytes()
        if key not in known:
            known[key] = lane_groups(config, row[start:stop], hidden[start:stop])
        return known[key]

    spans = list(zip(key_start[:-1].tolist(), key_start[1:].tolist(), strict=True))
    blocks = tuple(tuple(Block(i, groups(row, *span)) for i, span in enumerate(spans)) for row in tiers.astype(np.int8))
    return Schedule(query_start, key_start, blocks)
