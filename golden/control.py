"""The control plan: what happens when, declared once. RTL makes its control from it, golden predicts its cycles.

    LOOPS, EVENTS   attention: a nest of loops with a beat in every iteration, and what beats say: see rtl.sequencer
    SPECULATION     what is done for a query tile to find its tiers, step by step: see rtl.speculate
    STAGES          what is done with a head, from its raw rows to those of the output: see golden.head_cycles

Cycles are formulas: of COUNTS, of the latencies in golden.latencies, and those of stages of whole steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

from golden.config import Config, Tier
from golden.latencies import QUERY_TILES


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


def row_passes(config: Config, tiers: Iterable[Tier]) -> int:
    """Beats of a row under a key tile: the loops over its lane groups, of these tiers, and over their digits."""
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
    Step("frames", "rank", "last", "rank + head_frames - 1"),
    Step("cells", "cell", "part_end", "queries"),
    Step("key cells", "pooled", "last", "queries * near_cells + far_cells"),
    Step("pieces", "rank", "last", "rank + head_pieces - 1"),
)
"""For a query tile, again and again. Its mean meets the means of all key tiles, which ranks the frames; the means of
its cells, the `queries`, meet those of the key cells in the frames that matter, which ranks their pieces. Cells and
pieces in other frames are far: they only pass by, but for the last cell.
"""


@dataclasses.dataclass(frozen=True)
class Stage:
    """What is done for every head, or for every query tile of it, once other stages have ended."""

    name: str
    each: str
    """head; query tile; or core, for its own query tiles, beside other cores"""
    after: Mapping[str, int]
    """Stages that it waits for: 1 is the latest that there was, 2 the one before, where two may be under way, and so
    on; of a core's own query tiles, where each core has some"""
    cycles: str
    """From there to its end; see `evaluate`"""


STAGES = (
    Stage("measure keys", "head", {"keys": 1}, "tokens + 1 + statistics"),
    Stage("measure values", "head", {"values": 1}, "tokens + 1 + statistics"),
    Stage("begin", "head", {"measure keys": 1, "measure values": 1, "keep": 1}, "0"),
    Stage("scale", "head", {"begin": 1}, "1 + quantise"),
    Stage("keys", "head", {"begin": 1}, "centre + tokens * prepare_interval"),
    Stage("pool", "head", {"keys": 1}, "pool + 1"),
    Stage("values", "head", {"keys": 1, "scale": 1}, "tokens * prepare_interval"),
    Stage("keep", "head", {"values": 1}, "quantise"),
    Stage("open", "head", {"scale": 1}, "means"),
    Stage("turn", "head", {}, "prepare_query + work_queue"),
    Stage("match", "query tile", {"match": 1, "rows": 2}, "matched_rows * match_interval"),
    Stage("free", "core", {"attend": QUERY_TILES}, "released"),
    Stage("enter", "query tile", {"open": 1, "match": 1, "free": 1}, "work_queue + entering"),
    Stage("arrive", "query tile", {"turn": 1, "rows": 1}, "tile_rows * row_interval"),
    Stage("rows", "query tile", {"enter": 1, "arrive": 1}, "0"),
    Stage("mean", "core", {"rows": 1}, "align + pool - 1"),
    Stage("look", "core", {"mean": 1, "speculate": 1}, "tile + key tiles"),
    Stage("speculate", "core", {"look": 1, "pool": 1}, "frames + cells + key cells + pieces"),
    Stage("group", "core", {"speculate": 1}, "tier_buffer + key_tile + group + groups + sequencer - 3"),
    Stage("attend", "core", {"group": 1, "leave": 1}, "passes - row_passes"),
    Stage("values met", "core", {"keep": 1}, "rows_behind * row_passes"),
    Stage("last row", "core", {"attend": 1, "values met": 1}, "row_passes + held_up"),
    Stage("leave", "core", {"last row": 1}, "held_next"),
    Stage("output", "core", {"last row": 1}, "core + outputs + rows_behind * lag + taking + restore - 1"),
    Stage("follow", "core", {"restore": 1}, "restore + tile_rows * row_interval"),
    Stage("restore", "core", {"output": 1, "follow": 1}, "0"),
)
"""In order; those of all query tiles of a head come before the next head's. Keys and values pass twice: they are
measured; then the scale of values is found, keys are prepared and their means pooled, and values prepared after them,
which no query tile can do without at its end. Where rows are reused, all rows up to the end of the next query tile are
matched first. Query rows are rotated from the first cycle on. Those of a query tile enter a core when the event
`query_end` of the last tile but two frees their place. Their mean looks at key tiles, the other steps of SPECULATION
find tiers, keys are grouped, all passes done, and rows restored. A stage ends in the cycle after its last word, from
which a latency counts.
"""

COUNTS = {
    "tokens": "tokens of the head",
    "matched_rows": "rows that are matched until the query tile is known, where rows are reused",
    "head_frames": "frames in which key tiles of the head begin",
    "key_tiles": "key tiles of the head",
    "key_tile": "tokens of its first key tile",
    "groups": "lane groups of that one",
    "queries": "cells of the query tile",
    "near_cells": "key cells in frames that matter to it; the last one always counts",
    "far_cells": "all others",
    "head_pieces": "key pieces of the head",
    "passes": "passes of the query tile: rows * row_passes, or the tokens if these are more, of all key tiles",
    "row_passes": "passes of a row under the last key tile: see `row_passes`",
    "held_up": "cycles in which its passes wait for rows to be normalised, less those of loading before they begin",
    "held_next": "those in which the passes of the next query tile do, behind its last row",
    "entering": "cycles from its first row to its last one if they may enter late, when some are under way already",
    "tile_rows": "its rows",
    "rows_behind": "its rows, but for the first one",
    "lag": "cycles by which every one of these is restored later than it comes, beyond the one before it",
    "taking": "cycles in which the last one is taken to be restored, less if it is the only one",
    "prepare_interval": "cycles of a key or value row",
    "row_interval": "cycles of a query row, or of one that is restored",
}


def evaluate(cycles: str, counts: Mapping[str, int]) -> int:
    """A sum of products of counts, such as `rows * interval - 1`."""
    terms = cycles.replace(" - ", " + -1 * ").split(" + ")
    return sum(math.prod(int(n) if n.lstrip("-").isdigit() else counts[n] for n in term.split(" * ")) for term in terms)


def end(stage: Stage, ends: Mapping[str, list[int]], counts: Mapping[str, int]) -> int:
    """The cycle in which a stage ends, by the ends of all stages so far."""
    waits = [ends[name][-latest] for name, latest in stage.after.items() if len(ends[name]) >= latest]
    return max(waits, default=0) + evaluate(stage.cycles, counts)
