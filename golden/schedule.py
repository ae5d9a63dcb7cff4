"""The schedule: which tokens meet in the key lanes, in which order, at which tier."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

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


Packing = Callable[[Config, NDArray[np.int8], NDArray[np.bool_]], tuple[LaneGroup, ...]]
"""How the tokens of a key tile, their tiers [tokens] and what hides them [tokens] become lane groups."""


@dataclasses.dataclass(frozen=True)
class Blocks(Sequence[tuple[Block, ...]]):
    """[query_tiles][key_tiles], made when asked for: those of a long video would not fit into memory.

    Key tiles that are met in the same way share one tuple of lane groups.
    """

    config: Config
    key_start: NDArray[np.int64]
    """[key_tiles + 1]"""
    tiers: NDArray[np.int8]
    """[query_tiles, parts]"""
    part_sizes: NDArray[np.int64]
    """[parts], tokens"""
    hidden: NDArray[np.bool_]
    """[tokens]"""
    pack: Packing
    known: dict[bytes, tuple[LaneGroup, ...]] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tiers)

    def __getitem__(self, query_tile: Any) -> Any:
        row = np.repeat(self.tiers[query_tile], self.part_sizes)
        spans = pairwise(self.key_start.tolist())
        return tuple(Block(n, self._groups(row[a:b], self.hidden[a:b])) for n, (a, b) in enumerate(spans))

    def _groups(self, tiers: NDArray[np.int8], hidden: NDArray[np.bool_]) -> tuple[LaneGroup, ...]:
        key = tiers.tobytes() + hidden.tobytes()
        if key not in self.known:
            self.known[key] = self.pack(self.config, tiers, hidden)
        return self.known[key]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What the core executes: for every query tile its blocks, in order."""

    query_start: NDArray[np.int64]
    """[query_tiles + 1], first row of every query tile"""
    key_start: NDArray[np.int64]
    """[key_tiles + 1], first token of every key tile"""
    blocks: Sequence[tuple[Block, ...]]
    """[query_tiles][key_tiles]"""

    def measured(self, measure: Callable[[tuple[LaneGroup, ...]], Any]) -> Iterator[NDArray[np.int64]]:
        """For every query tile what `measure` says of its blocks, [key_tiles, ...]; equal ones are measured once."""
        known: dict[int, Any] = {}
        for blocks in self.blocks:
            for block in blocks:
                if id(block.groups) not in known:
                    known[id(block.groups)] = measure(block.groups)
            yield np.array([known[id(block.groups)] for block in blocks])

    @functools.cached_property
    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Lane groups, and keys in active lanes, that a row of each query tile meets: [query_tiles, tiers] each."""

        def count(groups: tuple[LaneGroup, ...]) -> list[NDArray[Any]]:
            tier = [int(group.tier) for group in groups]
            return [np.bincount(tier, weights, len(Tier)) for weights in (None, [g.active.sum() for g in groups])]

        both = np.array([tile.sum(axis=0) for tile in self.measured(count)], np.int64)
        return both[:, 0], both[:, 1]

    @property
    def rows(self) -> NDArray[np.int64]:
        """[query_tiles], rows of every query tile."""
        return np.diff(self.query_start)

    def passes(self, config: Config) -> int:
        """Cycles in which both arrays are busy, over all rows."""
        return int(self.rows @ self.counts[0] @ _passes(config))

    def products(self, config: Config) -> int:
        """Table lookups that serve an active lane, in both arrays."""
        return int(self.rows @ self.counts[1] @ _passes(config)) * 2 * config.head_dim

    def tier_shares(self) -> dict[str, float]:
        """Share of the (row, key) pairs in every tier."""
        pairs = self.rows @ self.counts[1]
        return {tier.name: float(pairs[tier] / max(1, pairs.sum())) for tier in Tier}


def _passes(config: Config) -> NDArray[np.int64]:
    return np.array([config.passes(tier) for tier in Tier])


def in_order(config: Config, tiers: NDArray[np.int8], hidden: NDArray[np.bool_] | None = None) -> tuple[LaneGroup, ...]:
    """Pack the tokens of a key tile, tiers [tokens], into lane groups: highest tier first, tokens in order.

    Tokens where `hidden` [tokens] is true take no part. A tile without any token left gives one inactive group, so
    that every tile is seen. At most `config.max_groups` groups result. What is done without grouping: see golden.group.
    """
    if not 1 <= len(tiers) <= config.tile:
        raise ValueError(f"tiers of {len(tiers)} tokens: a key tile has 1..{config.tile}")
    keep = np.ones(len(tiers), bool) if hidden is None else ~hidden
    groups = []
    for tier in sorted(Tier, reverse=True):
        tokens = np.flatnonzero((tiers == tier) & keep)
        for start in range(0, len(tokens), config.lanes):
            chunk = tokens[start : start + config.lanes]
            lanes = np.full(config.lanes, chunk[0])
            lanes[: len(chunk)] = chunk
            groups.append(LaneGroup(tier, lanes, np.arange(config.lanes) < len(chunk)))
    return tuple(groups) or (idle(config),)


def idle(config: Config) -> LaneGroup:
    """A lane group without tokens, for a tile that has none left."""
    return LaneGroup(Tier.LUT4, np.zeros(config.lanes, np.int64), np.zeros(config.lanes, bool))


def schedule(
    config: Config,
    query_start: Sequence[int] | NDArray[np.int64],
    key_start: Sequence[int] | NDArray[np.int64],
    tiers: NDArray[np.int8],
    mask: NDArray[np.bool_] | None = None,
    part_start: NDArray[np.int64] | None = None,
    pack: Packing = in_order,
) -> Schedule:
    """Schedule every key tile for every query tile.

    `tiers` is per block, [query_tiles, key_tiles], or per key, [query_tiles, tokens], or, with `part_start`
    [parts + 1], for any parts of the tokens, [query_tiles, parts]; `mask` [tokens] hides keys from all rows. Shapes
    that fit none raise ValueError.
    """
    query_start, key_start = np.asarray(query_start, np.int64), np.asarray(key_start, np.int64)
    tokens = int(key_start[-1])
    for name, starts, most in (("query_start", query_start, config.query_rows), ("key_start", key_start, config.tile)):
        if starts[0] != 0 or np.diff(starts).min() < 1 or np.diff(starts).max() > most:
            raise ValueError(f"{name}: must rise from 0 in steps of 1..{most}")
    rows, blocks = len(query_start) - 1, len(key_start) - 1
    if part_start is None:
        part_start = key_start if tiers.shape == (rows, blocks) else np.arange(tokens + 1)
    if part_start[0] != 0 or part_start[-1] != tokens or np.diff(part_start).min() < 1:
        raise ValueError(f"part_start: must rise from 0 to {tokens}")
    if tiers.shape != (rows, len(part_start) - 1):
        raise ValueError(
            f"tiers of shape {tiers.shape}: must be [{rows}, {blocks}] or [..., {tokens}], or as part_start says"
        )
    hidden = np.zeros(tokens, bool) if mask is None else mask
    blocks = Blocks(config, key_start, tiers.astype(np.int8), np.diff(part_start), hidden, pack)
    return Schedule(query_start, key_start, blocks)
