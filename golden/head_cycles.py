"""How long the complete core takes for heads, one after the other: preparation, speculation and attention overlap.

For every head these are cycles, from 0 on:

    found      its rows have passed once, one a cycle, and their means are there;
    pooled     its rows have passed again, prepare_interval cycles each, and its last cell is pooled;

and for every query tile j of it:

    asked      its rows are rotated and pooled: after those of the tile before, once the core has room for them;
    judged     its mean met all key tiles, its cells all key cells in the frames that matter, and its pieces have tiers;
               after the tile before, and once `TILES` tiles of tiers before that are used up;
    computed   its last pass: after the tile before; see golden.group.work.

Each is the maximum of a few others, plus what it takes itself. What an exponent that rises costs is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from golden.config import Config
from golden.control import SPECULATION, evaluate
from golden.group import work
from golden.latencies import latencies
from golden.layer import Plan
from golden.schedule import schedule
from golden.tiles import owner

STATISTICS = 24
"""Cycles from the last row to the statistics, beyond one for each channel."""
RANK = 15
"""Latency from a pooled key to a rank, beyond the adder tree."""
QUANTISE = 11
"""Latency of quantisation beyond its chunks and digits."""
GROUP = 2
"""Cycles from a query tile's last tier to its first pass, beyond the tokens and lane groups of a key tile."""
CORE = 32
"""Cycles from the last pass to its row at the output."""
TILES = 2
"""Query tiles whose rows, and whose tiers, are held."""


@dataclasses.dataclass(frozen=True)
class HeadCycles:
    """Where the cycles up to the last row of the output go; their sum is the total."""

    prepare: int
    """Until all keys of the first head are prepared and pooled"""
    speculate: int
    """In which passes wait for speculation: at first, and wherever a query tile takes longer than the one before it"""
    attend: int
    """Passes, and what loading takes longer"""
    drain: int
    """From the last pass to the last row of the output"""

    @property
    def total(self) -> int:
        """All cycles."""
        return self.prepare + self.speculate + self.attend + self.drain


def head_cycles(config: Config, plans: Sequence[Plan]) -> HeadCycles:
    """Cycles of planned heads, one after the other, if no stream is late; all rows are computed."""
    channels = config.head_dim // config.output_lanes
    row = max(2 * channels, channels + max(1, config.rotation_stages))  # cycles of a query row, and of an output row
    begun = pooled = judged = asked = computed = 0
    first = attend = 0
    done: list[int] = [0] * TILES  # the last query tiles' last passes
    drain = 0
    for made in plans:
        tokens = len(made.head.k)
        found = begun + tokens + config.head_dim + STATISTICS
        # The next head is measured while this one is prepared, but prepared only after it.
        start = max(found, pooled)
        chunks = config.head_dim // config.prepare_channels
        quantise = 2 * chunks + config.digits + QUANTISE
        pooled = start + quantise + tokens * config.prepare_interval + quantise
        begun = start + tokens * config.prepare_interval
        first = first or pooled
        asked = max(asked, start + quantise)
        passes, estimates = _work(config, made), speculation(config, made)
        for tile, rows in enumerate(np.diff(made.rows.start).tolist()):
            asked = max(asked, done[-TILES]) + rows * row
            ready = max(judged, asked, done[-TILES], pooled if tile == 0 else 0)
            judged = ready + estimates[tile]
            lead = min(tokens, config.tile) + config.tile // config.lanes + GROUP
            computed = max(computed, judged + lead) + passes[tile]
            attend += passes[tile]
            done.append(computed)
            visit = -(-passes[tile] // (rows * len(made.prepared.key_tiles.frame)))
            drain = CORE + rows * max(0, row - visit) + row
    return HeadCycles(first, computed - first - attend, attend, drain)


def _work(config: Config, made: Plan) -> list[int]:
    columns = made.prepared.key_tiles
    plan = schedule(config, made.rows.start, columns.start, made.tiers, part_start=columns.piece_start)
    return work(config, plan).tolist()


def speculation(config: Config, made: Plan) -> list[int]:
    """Cycles [query_tiles] from a query tile's mean to its last tier, if nothing is late: all steps of speculation."""
    columns, rows = made.prepared.key_tiles, made.rows
    _, frame_of = np.unique(columns.frame, return_inverse=True)
    cell_tile = owner(columns.cell_start, columns.start)
    constant = {
        "key_tiles": len(columns.frame),
        "frames": made.estimate.frames_kept.shape[1],
        "rank_wait": latencies(config)["rank"] - 1,
    }
    found = []
    for kept, queries in zip(
        made.estimate.frames_kept, np.bincount(owner(rows.cell_start, rows.start)).tolist(), strict=True
    ):
        near = kept[frame_of]
        cells, pieces = np.append(near[cell_tile][:-1], True), near[columns.piece_tile]  # all queries meet the last key
        counts = constant | {
            "queries": queries,
            "near_cells": int(cells.sum()),
            "far_cells": int((~cells).sum()),
            "near_pieces": int(pieces.sum()),
            "far_pieces": int((~pieces).sum()),
        }
        found.append(sum(evaluate(step.cycles, counts) for step in SPECULATION))
    return found
