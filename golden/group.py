"""Grouping: what speculation and matching leave uneven becomes full lanes, full query tiles, and cores alike busy.

Rows that are reused leave query tiles short: neighbouring ones are joined. Keys at unlike tiers, and tiles that a
frame's edge cut off, leave lane groups short: key tiles are refilled with tokens in order, and a group's idle
lanes take tokens of a lower tier, which only makes them more exact. Lane i takes only tokens i, i + lanes, ... of a
tile, so that where config.lanes divides config.banks no two lanes ever meet in a bank. Cores take query tiles in
order of estimated work, the longest first ("LPT" of Graham, 1969), and large ones are split where few are left.

Operations: a comparison or an addition for each row, each key of a query tile, and each pass over the queue of query
tiles; no multiplications. Memory: the rows left of a query tile, and the tiers of one key tile at a time.
"""

from __future__ import annotations

import dataclasses
import heapq

import numpy as np
from numpy.typing import NDArray

from golden.arbiter import place
from golden.config import Config, Tier
from golden.schedule import LaneGroup, Schedule, idle, schedule
from golden.tiles import Tiles

BALANCE = 1.02
"""The busiest core over the mean at which no query tile is split any further."""

SPLITS = 4
"""Query tiles that are split at most, for each core."""


@dataclasses.dataclass(frozen=True)
class Grouping:
    """The schedule of a head, and who computes what of it."""

    schedule: Schedule
    work: NDArray[np.int64]
    """[query_tiles], cycles: passes of all rows, but for each key tile at least as many as it has tokens to load"""
    core: NDArray[np.int64]
    """[query_tiles], the core that computes it"""
    lane_utilisation: float
    """Active lanes and passes over lanes and cycles, while a core works"""
    balance: float
    """Cycles of the busiest core over the mean"""


def compact(config: Config, tiles: Tiles, computed: NDArray[np.bool_]) -> Tiles:
    """Query tiles of the computed rows [tokens] alone: neighbours of a frame joined as long as they fit.

    At most `group_window` tiles become one, and none is divided: rows that are alike stay together. A head without
    computed rows raises ValueError.
    """
    keep = computed[tiles.order]
    if keep.all():
        return tiles
    if not keep.any():
        raise ValueError("no row is computed: at least one must be")
    left = np.add.reduceat(keep, tiles.start[:-1], dtype=np.int64)
    first: list[int] = []
    rows = 0
    for tile in np.flatnonzero(left).tolist():
        joins = first and tiles.frame[tile] == tiles.frame[first[-1]] and tile - first[-1] < config.group_window
        if not joins or rows + left[tile] > config.query_rows:
            first.append(tile)
            rows = 0
        rows += int(left[tile])
    places = np.concatenate([[0], np.cumsum(keep)])
    start = np.append(places[tiles.start[first]], places[-1])
    return Tiles(tiles.order[keep], tiles.place_frame[keep], tiles.place_cell[keep], start, tiles.piece)


def in_columns(
    config: Config, tiers: NDArray[np.int8], hidden: NDArray[np.bool_] | None = None
) -> tuple[LaneGroup, ...]:
    """Pack the tokens of a key tile, tiers [tokens], into full lane groups that never collide in a bank.

    Each lane takes its own tokens, the highest tier first; a group has the highest tier of its tokens. Tokens where
    `hidden` [tokens] is true take no part; a tile without any left gives one inactive group.
    """
    if not 1 <= len(tiers) <= config.tile:
        raise ValueError(f"tiers of {len(tiers)} tokens: a key tile has 1..{config.tile}")
    depth = -(-len(tiers) // config.lanes)
    rank = np.full(depth * config.lanes, -1, np.int64)
    rank[: len(tiers)] = tiers if hidden is None else np.where(hidden, -1, tiers)
    column = rank.reshape(depth, config.lanes)
    order = np.argsort(-column, axis=0, kind="stable")
    ranked = np.take_along_axis(column, order, axis=0)
    tokens = order * config.lanes + np.arange(config.lanes)
    groups = []
    for tier, token in zip(ranked, tokens, strict=True):
        active = tier >= 0
        if active.any():
            groups.append(LaneGroup(Tier(tier.max()), np.where(active, token, token[active.argmax()]), active))
    return tuple(groups) or (idle(config),)


def group(config: Config, rows: Tiles, columns: Tiles, tiers: NDArray[np.int8]) -> Grouping:
    """Group query tiles of `rows` that meet the pieces of `columns` at tiers [query_tiles, key_pieces]."""
    start, tile = rows.start, np.arange(len(tiers))
    best = None
    # Halves may take as long as the whole, if loading keys limits them: only what ends earlier counts.
    for _ in range(SPLITS * config.cores):
        made = schedule(config, start, columns.start, tiers[tile], part_start=columns.piece_start, pack=in_columns)
        found = _grouping(config, made, assign(work(config, made), config.cores))
        if best is None or _longest(found) < _longest(best):
            best = found
        halved = _halves(start, found.work, found.core)
        if best.balance <= BALANCE or len(halved) == len(start):
            break
        tile = tile[np.searchsorted(start, halved[:-1], side="right") - 1]
        start = halved
    assert best is not None
    return best


def ungrouped(config: Config, rows: Tiles, columns: Tiles, tiers: NDArray[np.int8]) -> Grouping:
    """The same work as it comes: query tiles as they are, tokens in order, an equal run of tiles for each core."""
    made = schedule(config, rows.start, columns.start, tiers, part_start=columns.piece_start)
    tiles = len(made.blocks)
    return _grouping(config, made, np.arange(tiles) * config.cores // tiles)


def _grouping(config: Config, made: Schedule, core: NDArray[np.int64]) -> Grouping:
    cycles = work(config, made)
    return Grouping(made, cycles, core, utilisation(config, made, cycles), balance(cycles, core, config.cores))


def _longest(grouping: Grouping) -> float:
    """Cycles of the busiest core."""
    return np.bincount(grouping.core, grouping.work).max()


def work(config: Config, plan: Schedule) -> NDArray[np.int64]:
    """Cycles [query_tiles] of a schedule: a key tile is computed while the next one is loaded, a token a cycle."""
    passes = plan.measured(lambda groups: sum(config.passes(each.tier) for each in groups))
    sizes = np.diff(plan.key_start)
    return np.array([np.maximum(rows * tile, sizes).sum() for rows, tile in zip(plan.rows, passes, strict=True)])


def assign(work: NDArray[np.int64], cores: int) -> NDArray[np.int64]:
    """The core of each query tile: the longest first, each to the core that is free first."""
    free = [(0, core) for core in range(cores)]
    core = np.empty(len(work), np.int64)
    for tile in np.argsort(-work, kind="stable").tolist():
        until, core[tile] = heapq.heappop(free)
        heapq.heappush(free, (until + int(work[tile]), int(core[tile])))
    return core


def balance(work: NDArray[np.int64], core: NDArray[np.int64], cores: int) -> float:
    """Cycles of the busiest core over the mean of all cores."""
    loads = np.bincount(core, work, cores)
    return float(loads.max() / loads.mean())


def utilisation(config: Config, plan: Schedule, cycles: NDArray[np.int64]) -> float:
    """Products of active lanes over what the lanes could do in the cycles [query_tiles]."""
    return plan.products(config) / (int(cycles.sum()) * config.peak_products)


def bank_collisions(config: Config, plan: Schedule) -> int:
    """Lane groups, over all query tiles, in which two lanes ask one bank for different words."""

    def collide(groups: tuple[LaneGroup, ...]) -> int:
        asked = [{place(config, token) for token in each.tokens.tolist()} for each in groups]
        return sum(len({bank for bank, _ in words}) < len(words) for words in asked)

    return int(sum(tile.sum() for tile in plan.measured(collide)))


def _halves(start: NDArray[np.int64], work: NDArray[np.int64], core: NDArray[np.int64]) -> NDArray[np.int64]:
    """Starts of query tiles, with the tallest one of the busiest core halved; the same where all have a single row."""
    busiest = np.bincount(core, work).argmax()
    rows = np.where(core == busiest, np.diff(start), 0)
    tallest = int(rows.argmax())
    if rows[tallest] < 2:
        return start
    return np.insert(start, tallest + 1, (start[tallest] + start[tallest + 1]) // 2)
