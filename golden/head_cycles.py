"""How long the complete core takes for heads, one after the other: preparation, speculation and attention overlap.

For every head these are cycles, from 0 on:

    found      its rows have passed once, one a cycle, and their means are there;
    opened     its values' exponent is known: query rows may pass;
    prepared   its rows have passed again, prepare_interval cycles each; a little earlier its last cell is `pooled`;

and for every query tile of it:

    asked      its last row is taken: one every so many cycles, but for `AHEAD` once there is room for them;
    judged     its mean met all key tiles, its cells all key cells in the frames that matter, and its pieces have tiers;
               after the tile before, and the tiers once those of the tile but one before have left;
    sent       for each key tile: its tokens have left with their tiers, one a cycle, as lane groups have room for them;
    left       its last row leaves the attention core, whose streams are as late as that: see golden.cycles;
    restored   its last row is taken to be rotated back.

Each is the maximum of a few others, plus what it takes itself. What an exponent that rises costs is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from golden.config import Config
from golden.cycles import ALIGN, NORMALISE, QUERY_TILES, Timeline, Visit, tree_levels, visit
from golden.layer import Plan
from golden.schedule import Block, schedule
from golden.tiles import owner

STATISTICS = 24
"""Cycles from the last row to the statistics, beyond one for each channel."""
RANK = 15
"""Latency from a pooled key to a rank, beyond the adder tree."""
QUANTISE = 11
"""Latency of quantisation beyond its chunks and digits."""
POOL = 5
"""Latency of pooling."""
ROTATE = 6
"""Latency of preparing a query row beyond its slices and its rotation."""
RESTORE = 9
"""The same of restoring a row of the output."""
TIERS = 2
"""Cycles from a query tile's last tier to its first token."""
TILES = 2
"""Query tiles whose tiers are held."""
AHEAD = 4
"""Query rows that are under way, from where they are taken, to where they wait for a head to begin; one more waits in
the core for room."""


@dataclasses.dataclass(frozen=True)
class HeadCycles:
    """Where the cycles up to the last row of the output go; their sum is the total."""

    prepare: int
    """Until all keys of the first head are prepared and pooled"""
    speculate: int
    """In which passes wait for speculation: at first, and wherever a query tile takes longer than the one before it;
    and what loading, short lane groups and rows that leave take longer"""
    attend: int
    """Passes"""
    drain: int
    """From the last pass to the last row of the output"""

    @property
    def total(self) -> int:
        """All cycles."""
        return self.prepare + self.speculate + self.attend + self.drain


def head_cycles(config: Config, plans: Sequence[Plan]) -> HeadCycles:
    """Cycles of planned heads, one after the other, if no stream is late; all rows are computed."""
    return _Heads(config).run(plans)


class _Heads:
    """The cycles of the head and of the query tile at hand, and of those before as far as they still matter."""

    def __init__(self, config: Config) -> None:
        self.config, self.core = config, Timeline(config)
        self.slices, self.rotation = config.head_dim // config.output_lanes, max(1, config.rotation_stages)
        # A row is aligned in two turns, and the next one may be cut while it is rotated.
        self.row = max(2 * self.slices, self.slices + self.rotation - 1)
        self.levels = tree_levels(dataclasses.replace(config, table="multiply"), config.head_dim)
        self.begun = self.opened = self.pooled = self.prepared = 0
        self.asked = self.judged = self.restored = 0
        self.freed = [0] * TILES
        self.visits: dict[int, tuple[Visit, Block]] = {}

    def run(self, plans: Sequence[Plan]) -> HeadCycles:
        """All heads."""
        first = 0
        for made in plans:
            self.prepare(len(made.head.k))
            first = first or self.pooled
            columns = made.prepared.key_tiles
            plan = schedule(self.config, made.rows.start, columns.start, made.tiers, part_start=columns.piece_start)
            tiles = zip(plan.rows.tolist(), plan.blocks, self.estimates(made), strict=True)
            for n, (rows, blocks, estimate) in enumerate(tiles):
                self.speculate(rows, *estimate, first=n == 0)
                self.attend(rows, blocks, np.diff(plan.key_start).tolist())
        computed, passes = self.core.keys + 1, self.core.passes + self.core.waits_bank
        total = self.restored + self.slices + self.rotation + RESTORE
        return HeadCycles(first, computed - first - passes, passes, total - computed)

    def prepare(self, tokens: int) -> None:
        """Keys and values of a head. It is measured while the one before is prepared, but prepared only after it."""
        config = self.config
        start = max(self.begun + tokens + config.head_dim + STATISTICS, self.prepared)
        quantise = 2 * (config.head_dim // config.prepare_channels) + config.digits + QUANTISE
        self.begun = start + tokens * config.prepare_interval
        self.opened = max(start + quantise, self.judged)
        # The largest value there can be goes first, and keys wait for the values.
        self.pooled, self.prepared = self.begun + quantise + POOL, self.begun + 2 * quantise

    def speculate(self, rows: int, estimated: int, ranked: int, first: bool) -> None:
        """Query rows of a tile, and its tiers."""
        sent = self.core.rows_sent
        free = sent[-QUERY_TILES] if len(sent) >= QUERY_TILES else -1
        self.asked = max(self.asked + rows * self.row, free + (rows - AHEAD - 1) * self.row)
        if first:
            self.asked = max(self.asked, self.opened + (rows - AHEAD) * self.row)
        rotated = self.asked + self.slices + self.rotation + ROTATE
        self.core.aligned = rotated + ALIGN + 1
        ready = max(self.judged, rotated + ALIGN + POOL + 1, self.pooled if first else 0)
        self.judged = max(ready + estimated, self.freed[-TILES]) + ranked

    def attend(self, rows: int, blocks: Sequence[Block], sizes: Sequence[int]) -> None:
        """All key tiles of a query tile."""
        core, sent, listed = self.core, self.judged + TIERS, self.core.listed
        for block in blocks:
            # Key tiles that are met in the same way share their groups, which stay as long as they are known here.
            if id(block.groups) not in self.visits:
                self.visits[id(block.groups)] = visit(self.config, block.groups), block
            row, _ = self.visits[id(block.groups)]
            # A key tile's tokens are collected while the groups of the one before leave.
            sent, listed = max(sent, listed) + sizes[block.key_tile], core.listed
            core.listed = max(core.listed, sent + 1)
            taken = core.take(sizes[block.key_tile], row.groups, block is blocks[0])
            core.compute(row, rows, taken, block is blocks[-1])
        self.freed.append(sent)
        core.rows_sent.append(core.sent[-1] - row.passes + 1)
        # As many rows as a query tile has may wait for being rotated back.
        core.left = max(core.left, self.restored)
        core.values = core.left - core.depth
        normalised = self.slices + NORMALISE
        begin = max(self.restored, core.left - (rows - 1) * max(row.cycles, self.slices) + normalised)
        self.restored = max(begin + rows * self.row, core.left + normalised + self.row)

    def estimates(self, made: Plan) -> list[tuple[int, int]]:
        """Cycles from each query tile's mean to its first tier, and from there to its last: see rtl.estimate."""
        columns, latency = made.prepared.key_tiles, self.levels + RANK
        _, frame_of = np.unique(columns.frame, return_inverse=True)
        cell_tile, piece_tile = owner(columns.cell_start, columns.start), columns.piece_tile
        found = []
        for kept, queries in zip(
            made.estimate.frames_kept, np.bincount(owner(made.rows.cell_start, made.rows.start)).tolist(), strict=True
        ):
            inside = kept[frame_of]
            looked, skipped = (int(each[cell_tile].sum()) for each in (inside, ~inside))
            ranked, passed = (int(each[piece_tile].sum()) for each in (inside, ~inside))
            frames = 1 + len(inside) + latency + len(kept) - 1
            keys = queries + looked * queries + skipped
            found.append((frames + keys + latency - 1, ranked * queries + passed))
        return found
