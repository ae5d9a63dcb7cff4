"""How long the complete core takes for heads, one after the other: preparation, speculation and attention overlap.

It evaluates golden.control.STAGES, for every head and every query tile of it, with golden.cycles for passes. Rows that
raise an exponent take a little more, which is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.control import SPECULATION, STAGES, end, evaluate, row_passes
from golden.cycles import cycles
from golden.group import in_columns, work
from golden.latencies import QUERY_TILES, head_start, latencies, row_interval
from golden.layer import Plan
from golden.schedule import Block, Packing, Schedule, schedule
from golden.tiles import owner


@dataclasses.dataclass(frozen=True)
class HeadCycles:
    """Where the cycles up to the last row of the output go; their sum is the total."""

    prepare: int
    """Until all keys of the first head are prepared and pooled"""
    speculate: int
    """In which passes wait for speculation: at first, and wherever a query tile takes longer than the one before it"""
    attend: int
    """Passes, and what loading keys and normalising rows take longer"""
    drain: int
    """From the last pass to the last row of the output"""

    @property
    def total(self) -> int:
        """All cycles."""
        return self.prepare + self.speculate + self.attend + self.drain


def head_cycles(config: Config, plans: Sequence[Plan], pack: Packing = in_columns) -> HeadCycles:
    """Cycles of planned heads, one after the other, if no stream is late; what they go to is that of the last core.

    The hardware packs lane groups `in_columns`; another `pack` tells what grouping is worth.
    """
    known = latencies(config) | {"prepare_interval": config.prepare_interval, "row_interval": row_interval(config)}
    shared: dict[str, list[int]] = {stage.name: [] for stage in STAGES if stage.each != "core"}
    cores = [shared | {stage.name: [] for stage in STAGES if stage.each == "core"} for _ in range(config.cores)]
    attend, turn = [0] * config.cores, 0

    def each(kinds: Sequence[str], ends: dict[str, list[int]], counts: dict[str, int]) -> None:
        for stage in STAGES:
            if stage.each in kinds:
                ends[stage.name].append(end(stage, ends, known | counts))

    for made in plans:
        each(["head"], shared, {"tokens": len(made.head.k)})
        parts = zip(_passes(config, made, pack), speculation(config, made), matched_rows(config, made), strict=True)
        for counts, steps, matched in parts:
            # The next core in turn that has a place for another query tile, or else the one that will have it first.
            order = [(turn + n) % config.cores for n in range(config.cores)]
            freed = [ends["attend"][-QUERY_TILES : 1 - QUERY_TILES] for ends in cores]
            turn = min(order, key=lambda core: max(shared["rows"][-1:] + freed[core], default=0))
            each(["query tile", "core"], cores[turn], counts | steps | {"matched_rows": matched})
            attend[turn] += counts["passes"] + counts["held_up"]
            turn = (turn + 1) % config.cores
    latest = max((core for core in range(config.cores) if attend[core]), key=lambda core: cores[core]["restore"][-1])
    ends, passes = cores[latest], attend[latest]
    prepare, last_pass, total = ends["pool"][0], ends["last row"][-1], ends["restore"][-1]
    return HeadCycles(prepare, last_pass - prepare - passes, passes, total - last_pass)


def matched_rows(config: Config, made: Plan) -> list[int]:
    """For every query tile, the rows that are matched until it is complete: up to the end of what follows it."""
    if not config.reuse_distance:
        return [0] * len(made.rows.frame)
    places, tokens = made.prepared.places(made.rows), len(made.head.q)
    following = places[made.rows.start[1:-1]] // config.query_rows + 1  # tiles of all rows
    known = np.append(np.minimum(following * config.query_rows, tokens), tokens)
    return np.diff(known, prepend=0).tolist()


def _passes(config: Config, made: Plan, pack: Packing) -> Iterator[dict[str, int]]:
    """Counts of attention, for every query tile."""
    columns, interval = made.prepared.key_tiles, config.output_slices
    plan = schedule(config, made.rows.start, columns.start, made.tiers, part_start=columns.piece_start, pack=pack)
    tiles = list(zip(plan.rows.tolist(), plan.blocks, strict=True))
    for n, ((rows, blocks), passes) in enumerate(zip(tiles, work(config, plan).tolist(), strict=True)):
        before = tiles[n - config.cores] if n >= config.cores else tiles[n]
        held = added(config, plan.key_start, before, tiles[n]) - passes
        last = row_passes(config, (group.tier for group in blocks[-1].groups))
        yield {
            "entering": max(0, (rows - 1) * row_interval(config) - head_start(config)),
            "key_tile": int(columns.start[1]),
            "groups": len(blocks[0].groups),
            "passes": passes,
            "row_passes": last,
            "held_up": held - max(0, held) // rows,
            "held_next": max(0, held) // rows,
            "tile_rows": rows,
            "rows_behind": rows - 1,
            "taking": row_interval(config) if rows > 1 else 2 * interval,
            "lag": max(0, row_interval(config) - max(last, interval)),  # by which every row leaves later
        }


def added(config: Config, key_start: NDArray[np.int64], *tiles: tuple[int, tuple[Block, ...]]) -> int:
    """Cycles that the last of two query tiles, rows and blocks, takes of the core, behind the one before it."""
    first, both = (
        cycles(config, Schedule(np.cumsum([0, *(rows for rows, _ in part)]), key_start, [each for _, each in part]))
        for part in (tiles[:1], tiles)
    )
    return both.total - first.total


def speculation(config: Config, made: Plan) -> list[dict[str, int]]:
    """Cycles of all steps of speculation by their name, for every query tile, if nothing is late."""
    columns, rows = made.prepared.key_tiles, made.rows
    _, frame_of = np.unique(columns.frame, return_inverse=True)
    cell_tile = owner(columns.cell_start, columns.start)
    constant = {
        "key_tiles": len(columns.frame),
        "head_frames": made.estimate.frames_kept.shape[1],
        "head_pieces": len(columns.piece_tile),
        "rank": latencies(config)["rank"],
    }
    found = []
    for kept, queries in zip(
        made.estimate.frames_kept, np.bincount(owner(rows.cell_start, rows.start)).tolist(), strict=True
    ):
        near = kept[frame_of]
        cells = np.append(near[cell_tile][:-1], True)  # all queries meet the last key
        counts = constant | {
            "queries": queries,
            "near_cells": int(cells.sum()),
            "far_cells": int((~cells).sum()),
        }
        found.append({step.name: evaluate(step.cycles, counts) for step in SPECULATION})
    return found
