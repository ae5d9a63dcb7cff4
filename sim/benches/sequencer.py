"""Bench of the sequencer: the beats of random schedules, unrolled here loop by loop from golden.schedule's groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np

from golden.config import Config, Tier
from golden.schedule import LaneGroup, in_order
from rtl import layouts
from rtl.sequencer import GROUP_SLOTS, Sequencer
from rtl.streams import slot_of
from sim import job
from sim.core_words import group_words, lane_mask
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, check_streams

QUERY_TILES = 12


@dataclasses.dataclass(frozen=True)
class KeyTile:
    """A key tile as a query tile meets it."""

    groups: tuple[LaneGroup, ...]
    query_tile: int
    rows: int
    first: bool
    final: bool
    key_slot: int
    query_slot: int


def key_tiles(config: Config, rng: np.random.Generator) -> list[KeyTile]:
    """Query tiles of all heights under 1 to 4 key tiles: full ones of one or mixed tiers, partial ones, hidden ones."""
    made = []
    for n in range(QUERY_TILES):
        rows = int(rng.integers(1, config.query_rows, endpoint=True)) if n % 3 else config.query_rows
        count, query_slot = 1 + n % 4, int(rng.integers(0, layouts.QUERY_SLOTS))
        for k in range(count):
            tokens = config.tile if rng.integers(0, 2) else int(rng.integers(1, config.tile, endpoint=True))
            tiers = rng.integers(0, len(Tier), tokens if rng.integers(0, 4) else 1).astype(np.int8)
            hidden = rng.random(tokens) < rng.choice([0, 0, 0.5, 1])
            groups = in_order(config, np.broadcast_to(tiers, tokens), hidden)
            key_slot = int(rng.integers(0, config.tile_slots))
            made.append(KeyTile(groups, n, rows, k == 0, k == count - 1, key_slot, query_slot))
    return made


def beats(config: Config, tile: KeyTile) -> Iterator[int]:
    """For every row, every lane group, and every pass of its tier: a beat."""
    for row in range(tile.rows):
        for n, group in enumerate(tile.groups):
            last_group, last_row = n == len(tile.groups) - 1, row == tile.rows - 1
            visit = {"row": row, "start": n == 0, "end": last_group, "first": tile.first, "final": tile.final}
            passes = config.passes(group.tier)
            for digit in range(passes):
                row_end = last_group and digit == passes - 1
                fields = {
                    "tokens": group.tokens.tolist(),
                    "active": lane_mask(group.active),
                    "digit": digit,
                    "whole": config.word_digits > 1 and group.tier == Tier.FULL,
                    "last_digit": digit == passes - 1,
                    "visit": visit,
                    "row_end": row_end,
                    "tile_end": row_end and last_row,
                    "query_end": tile.final and last_row,
                    "tile_slot": tile.key_slot,
                    "query_slot": tile.query_slot,
                }
                yield pack(layouts.beat(config), fields)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def sequenced(dut: Any, stalls: float) -> None:
    """All beats in order; one per cycle, also from tile to tile."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    tiles = key_tiles(config, rng)
    lists = [group_words(config, tile.groups, tile.final) for tile in tiles]
    expected = [list(beats(config, tile)) for tile in tiles]
    query = slot_of(layouts.QUERY_SLOTS, config.row_bits)
    key = slot_of(config.tile_slots, 0)
    inputs = {
        "group": [word for words in lists for word in words],
        "query": [pack(query, {"slot": t.query_slot, "meta": t.rows - 1}) for t in tiles if t.first],
        "key": [pack(key, {"slot": tile.key_slot}) for tile in tiles],
    }
    words = [word for tile in expected for word in tile]
    cycles = await check_streams(dut, inputs, {"o": (layouts.beat(config), words)}, stalls)
    if not stalls:
        assert_rate(tiles, split(cycles["group"], lists), split(cycles["o"], expected))


def split(cycles: list[int], words: list[list[int]]) -> list[list[int]]:
    """Cycles of transfers, by key tile."""
    return [piece.tolist() for piece in np.split(np.array(cycles), np.cumsum([len(part) for part in words])[:-1])]


def assert_rate(tiles: list[KeyTile], listed: list[list[int]], sent: list[list[int]]) -> None:
    """A beat in every cycle, unless the next list of groups was longer to load than the present tile to compute.

    A tile starts `latency` cycles after the last group of its list; a list is loaded as soon as one of the two is free.
    """
    seamless = {"key tiles": 0, "query tiles": 0}
    for n, (groups, cycles) in enumerate(zip(listed, sent, strict=True)):
        assert cycles == list(range(cycles[0], cycles[0] + len(cycles))), f"gaps within key tile {n}: {cycles}"
        if n < GROUP_SLOTS:
            continue
        before, complete = sent[n - 1][-1], groups[-1] + Sequencer.latency
        assert cycles[0] == max(before + 1, complete), f"tile {n}: {cycles[0]}, after {before}, from {complete}"
        seamless["query tiles" if tiles[n].first else "key tiles"] += cycles[0] == before + 1
        free = max(listed[n - 1][-1], sent[n - GROUP_SLOTS][-1])
        assert_full_rate([free, *groups])
    assert min(seamless.values()) > QUERY_TILES // 4, f"too few tiles followed at once: {seamless}"
