"""The control plan: what happens when, declared once. RTL makes its counters from it, the cycle model its formulas.

Attention is a nest of loops, a beat in every iteration of the innermost one: see LOOPS and EVENTS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from golden.config import Config, Tier


@dataclasses.dataclass(frozen=True)
class Loop:
    """One loop of a nest."""

    name: str
    over: str
    """What bounds it, at run time"""
    most: str = ""
    """The property of Config that its iterations never exceed; if none is named, the loop is not counted: its data say
    which iteration is its first and which its last"""


@dataclasses.dataclass(frozen=True)
class Event:
    """The beats in the first, or the last, iteration of all these loops at once."""

    name: str
    edge: str
    loops: tuple[str, ...]


def first(name: str, *loops: str) -> Event:
    """The first iteration of these loops."""
    return Event(name, "first", loops)


def last(name: str, *loops: str) -> Event:
    """Their last iteration."""
    return Event(name, "last", loops)


LOOPS = (
    Loop("key_tile", "key tiles of the head"),
    Loop("row", "rows of the query tile", "query_rows"),
    Loop("group", "lane groups of the key tile", "max_groups"),
    Loop("digit", "passes of the lane group's tier", "digits"),
)
"""Attention under a query tile, outermost loop first. The tile stays meanwhile; key tiles stream by."""

EVENTS = (
    first("first", "key_tile"),
    last("final", "key_tile"),
    first("start", "group"),
    last("end", "group"),
    last("last_digit", "digit"),
    last("row_end", "group", "digit"),
    last("tile_end", "row", "group", "digit"),
    last("query_end", "key_tile", "row"),
)
"""What a beat says to whom it passes: where sums begin, where they end, and where buffers are free again."""


def row_beats(config: Config, tiers: Iterable[Tier]) -> int:
    """Beats of a row under a key tile, whose lane groups have these tiers; under all of its rows as many for each."""
    return sum(config.passes(tier) for tier in tiers)
