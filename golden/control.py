"""The control plan: what happens when, declared once. RTL makes its counters from it, the cycle model its formulas.

Attention is a nest of loops, a beat in every iteration of the innermost one: see LOOPS and EVENTS.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

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


@dataclasses.dataclass(frozen=True)
class Step:
    """What is done with the words of one stream, up to a marked one, before the next step begins."""

    name: str
    takes: str
    """The stream"""
    until: str
    """The mark of its last word; if none is named, it is a single word"""
    cycles: str
    """Without stalls; see `evaluate`"""


SPECULATION = (
    Step("tile", "tile", "", "1"),
    Step("key tiles", "pooled", "last", "key_tiles"),
    Step("frames", "rank", "last", "rank_wait + frames"),
    Step("cells", "cell", "part_end", "queries"),
    Step("key cells", "pooled", "last", "queries * near_cells + far_cells"),
    Step("pieces", "rank", "last", "rank_wait + queries * near_pieces + far_pieces"),
)
"""For a query tile, again and again. Its mean meets the means of all key tiles, which ranks the frames; the means of
its cells, the `queries`, meet those of the key cells in the frames that matter, which ranks their pieces. Cells and
pieces in other frames are far and only pass by, but for the last cell. `rank_wait` is the latency of a rank, less one.
"""


def evaluate(cycles: str, counts: Mapping[str, int]) -> int:
    """A sum of products of counts, such as `rows * interval + 1`."""
    terms = ([int(n) if n.isdigit() else counts[n] for n in term.split(" * ")] for term in cycles.split(" + "))
    return sum(math.prod(factors) for factors in terms)
