"""What the performance counters of the core must show after a schedule, where it does not depend on time."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from golden.arbiter import place
from golden.config import Config, Tier
from golden.schedule import LaneGroup, Schedule


@dataclasses.dataclass(frozen=True)
class Counters:
    """Expected counts, named as the hardware has them."""

    busy: int
    """Cycles in which a pass enters the q . k multiplier"""
    waits_bank: int | None
    """Cycles in which it waits for words of banks that several lanes ask; None if requests may overtake each other"""
    passes: tuple[int, ...]
    """Of each tier"""
    products: tuple[int, ...]
    """Active lanes over the passes of each tier"""
    groups: int
    """Lane groups of all key tiles under all query tiles"""
    key_tiles: int
    """Key tiles under all query tiles"""
    query_tiles: int
    rows: int


def expected(config: Config, schedule: Schedule) -> Counters:
    """The counts of a schedule that was executed once."""
    groups, keys = schedule.counts
    passes, products = (_by_tier(config, schedule.rows @ count) for count in (groups, keys))
    query_tiles, key_tiles = len(schedule.query_start) - 1, len(schedule.key_start) - 1
    return Counters(
        busy=sum(passes),
        waits_bank=bank_waits(config, schedule) if config.request_window == 1 else None,
        passes=passes,
        products=products,
        groups=int(groups.sum()),
        key_tiles=query_tiles * key_tiles,
        query_tiles=query_tiles,
        rows=int(schedule.query_start[-1]),
    )


def _by_tier(config: Config, each: NDArray[np.int64]) -> tuple[int, ...]:
    """Passes of the tiers, given how many units each has; a tier counts as the lowest that reads the same digits so."""
    reads = [(config.passes(tier), config.digits_read(tier)) for tier in Tier]
    counts = [0] * len(Tier)
    for tier, count in zip(Tier, each.tolist(), strict=True):
        counts[reads.index(reads[tier])] += count * config.passes(tier)
    return tuple(counts)


def bank_waits(config: Config, schedule: Schedule) -> int:
    """Cycles that lanes wait for each other in a token buffer whose requests are served in order."""

    def extra(groups: tuple[LaneGroup, ...]) -> int:
        passes = [config.passes(group.tier) for group in groups]
        return int(np.array(passes) @ (np.array(bank_cycles(config, groups)) - 1))

    return int(sum(rows * tile.sum() for rows, tile in zip(schedule.rows, schedule.measured(extra), strict=True)))


@functools.cache
def _banks(config: Config) -> NDArray[np.int64]:
    """The bank of each token of a tile."""
    return np.array([place(config, token)[0] for token in range(config.tile)])


def bank_cycles(config: Config, groups: Sequence[LaneGroup]) -> list[int]:
    """Cycles of the banks for a pass of each group: a bank reads a word a cycle, for all lanes that ask it."""
    tokens = np.sort([group.tokens for group in groups], axis=1)
    words = np.diff(tokens, axis=1, prepend=-1) != 0
    bins = np.arange(len(groups))[:, None] * config.banks + _banks(config)[tokens]
    asked = np.bincount(bins.ravel(), words.ravel(), len(groups) * config.banks)
    return asked.reshape(len(groups), config.banks).max(axis=1).astype(int).tolist()
