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
from golden.cycles import tree_levels
from golden.group import work
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
CORE = 18
"""Cycles from the last pass to its row at the output, beyond adder trees, rotation, and what goes slice by slice."""
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
    trees = tree_levels(config, config.head_dim) + tree_levels(config, config.lanes)
    # Normalised, and then rotated back, in slices of output_lanes channels.
    behind = CORE + trees + 2 * channels + max(1, config.rotation_stages)
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
        passes, estimates = _work(config, made), _speculation(config, made)
        for tile, rows in enumerate(np.diff(made.rows.start).tolist()):
            asked = max(asked, done[-TILES]) + rows * row
            ready = max(judged, asked, done[-TILES], pooled if tile == 0 else 0)
            judged = ready + estimates[tile]
            lead = min(tokens, config.tile) + config.tile // config.lanes + GROUP
            computed = max(computed, judged + lead) + passes[tile]
            attend += passes[tile]
            done.append(computed)
            visit = -(-passes[tile] // (rows * len(made.prepared.key_tiles.frame)))
            drain = behind + rows * max(0, row - visit) + row
    return HeadCycles(first, computed - first - attend, attend, drain)


def _work(config: Config, made: Plan) -> list[int]:
    columns = made.prepared.key_tiles
    plan = schedule(config, made.rows.start, columns.start, made.tiers, part_start=columns.piece_start)
    return work(config, plan).tolist()


def _speculation(config: Config, made: Plan) -> list[int]:
    """Cycles from each query tile's mean to its last tier: see rtl.estimate.Estimate."""
    # Products are summed up one by one, whatever the style of the core's tables.
    columns = made.prepared.key_tiles
    levels = tree_levels(dataclasses.replace(config, table="multiply"), config.head_dim)
    _, frame_of = np.unique(columns.frame, return_inverse=True)
    cell_tile, piece_tile = owner(columns.cell_start, columns.start), columns.piece_tile
    found = []
    for kept, queries in zip(
        made.estimate.frames_kept, np.bincount(owner(made.rows.cell_start, made.rows.start)).tolist(), strict=True
    ):
        inside = kept[frame_of]
        looked, skipped = (int(each[cell_tile].sum()) for each in (inside, ~inside))
        ranked, passed = (int(each[piece_tile].sum()) for each in (inside, ~inside))
        frames = 1 + len(inside) + levels + RANK + len(kept) - 1
        keys = queries + looked * queries + skipped
        found.append(frames + keys + levels + RANK - 1 + ranked * queries + passed)
    return found
