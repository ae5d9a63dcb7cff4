"""Bench of lane packing: the groups of many tiles, compared with golden.group.in_columns."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.config import Config, Tier
from golden.group import in_columns
from rtl import layouts
from rtl.group import Group, tiered
from sim import job
from sim.core_words import group_words
from sim.pack import pack
from sim.scoreboard import Scoreboard
from sim.streams import STALLS, assert_full_rate, check_streams, finish
from sim.testbench import Pauses, Testbench

TILES = 120
"""Random tiles."""
SMALL = 4
"""All tiles of up to so many tokens are tried."""


@dataclasses.dataclass(frozen=True)
class Tile:
    """A key tile's tokens as they go in, and the lane groups that must come out."""

    tokens: list[int]
    groups: list[int]


def tile(config: Config, tiers: NDArray[np.int8], hidden: NDArray[np.bool_], final: bool) -> Tile:
    """A tile of tokens at tiers [tokens]. Hidden ones have any tier, and all but the last any `final`: none counts."""
    last = len(tiers) - 1
    tokens = [
        {"tier": tier, "shown": not hide, "last": n == last, "final": final if n == last else (n + tier) % 2}
        for n, (tier, hide) in enumerate(zip(tiers.tolist(), hidden.tolist(), strict=True))
    ]
    words = [pack(tiered(config), token) for token in tokens]
    return Tile(words, group_words(config, in_columns(config, tiers, hidden), final))


def random_tiles(config: Config, rng: np.random.Generator) -> Iterator[Tile]:
    """Tiles of all sizes, many of them full: of one tier, of a tier for each piece, or mixed; all or some shown."""
    for n in range(TILES):
        tokens = config.tile if n % 3 == 0 else int(rng.integers(1, config.tile, endpoint=True))
        part = (config.tile, config.piece, 1)[n // 3 % 3]  # tokens in a row that have one tier
        share = rng.choice([0, 0, 0, 0.1, 0.5, 0.9, 1])
        hidden = np.repeat(rng.random(tokens) < share, part if n % 2 else 1)[:tokens]
        tiers = np.repeat(rng.integers(0, len(Tier), tokens).astype(np.int8), part)[:tokens]
        yield tile(config, tiers, hidden, bool(rng.integers(0, 2)))


def small_tiles(config: Config, rng: np.random.Generator) -> list[Tile]:
    """Every tile of 1 to SMALL tokens, hidden ones at every tier too, in any order."""
    tokens = list(itertools.product(Tier, (False, True)))
    made = []
    for size in range(1, min(SMALL, config.tile) + 1):
        for each in itertools.product(tokens, repeat=size):
            tiers, hidden = zip(*each, strict=True)
            made.append(tile(config, np.array(tiers, np.int8), np.array(hidden), bool(rng.integers(0, 2))))
    return [made[n] for n in rng.permutation(len(made))]


async def check(dut: Any, config: Config, tiles: Sequence[Tile], stalls: float) -> tuple[list[int], list[int]]:
    """All groups of the tiles in order, and when; cycles of all transfers, in and out."""
    words = [word for each in tiles for word in each.groups]
    inputs = {"i": [word for each in tiles for word in each.tokens]}
    cycles = await check_streams(dut, inputs, {"o": (layouts.group(config), words)}, stalls)
    if not stalls:
        assert_cycles(tiles, cycles["i"], cycles["o"])
    return cycles["i"], cycles["o"]


def assert_cycles(tiles: Sequence[Tile], taken: list[int], sent: list[int]) -> None:
    """Without stalls: every token and every group in just the cycle that rtl.group states."""
    tokens, groups, start, left = [], [], taken[0], taken[0]
    for each in tiles:
        tokens += range(start, start + len(each.tokens))
        begins = max(tokens[-1] + Group.latency, left + 1)
        groups += range(begins, begins + len(each.groups))
        start, left = begins - 1, groups[-1]
    for name, cycles, stated in (("token", taken, tokens), ("group", sent, groups)):
        wrong = next((n for n, pair in enumerate(zip(cycles, stated, strict=True)) if pair[0] != pair[1]), None)
        assert wrong is None, f"{name} {wrong}: cycle {cycles[wrong or 0]}, stated {stated[wrong or 0]}"


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def random(dut: Any, stalls: float) -> None:
    """Random tiles."""
    config, _ = job.read()
    await check(dut, config, list(random_tiles(config, np.random.default_rng(cocotb.RANDOM_SEED))), stalls)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def small(dut: Any, stalls: float) -> None:
    """All small tiles."""
    config, _ = job.read()
    await check(dut, config, small_tiles(config, np.random.default_rng(cocotb.RANDOM_SEED)), stalls)


@cocotb.test()
async def sustained(dut: Any) -> None:
    """A token in every cycle, from tile to tile, as no tile has fewer tokens than another has groups."""
    config, _ = job.read()
    made = random_tiles(config, np.random.default_rng(cocotb.RANDOM_SEED))
    tiles = [each for each in made if len(each.tokens) >= config.tile // config.lanes]
    assert len(tiles) > TILES // 4, f"only {len(tiles)} tiles are large enough"
    taken, _ = await check(dut, config, tiles, 0.0)
    assert_full_rate(taken)


@cocotb.test()
async def double_buffered(dut: Any) -> None:
    """While no group is taken, one tile more than the one that is leaving is loaded."""
    config, _ = job.read()
    tiles = list(random_tiles(config, np.random.default_rng(cocotb.RANDOM_SEED)))[:3]
    bench = Testbench(dut)
    groups = Scoreboard("o", layouts.group(config), [word for each in tiles for word in each.groups])
    tokens = bench.source("i", [word for each in tiles for word in each.tokens])
    output = bench.sink("o", groups.check, Pauses(1.0))
    await bench.reset()
    held = len(tiles[0].tokens) + len(tiles[1].tokens)
    await bench.idle(held + len(tiles[2].tokens) + Group.latency)
    assert len(tokens.cycles) == held, f"{len(tokens.cycles)} tokens were taken, of two tiles of {held}"
    output.pauses = Pauses()
    await bench.run(lambda: tokens.done and not groups.expected, limit=20 + 4 * config.tile)
    await finish(bench, [groups])
