"""Bench of the compaction: heads of which some rows are computed, compared with golden.group."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.formats import FORMATS
from golden.group import compact
from golden.tiles import make_tiles
from rtl.compact import Compact
from rtl.places import placed
from rtl.reuse import decided
from sim import job
from sim.benches.reuse import rows_at
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, assert_latency, check_streams

Shape = tuple[tuple[int, int, int], int]
"""Grid and text of a head."""

SHAPES: tuple[Shape, ...] = (((3, 5, 7), 11), ((1, 1, 1), 0), ((9, 1, 1), 0), ((0, 0, 0), 9), ((2, 4, 6), 0))
SHARES = (0.0, 0.02, 0.1, 0.3, 0.6, 0.9, 1.0)


def computed_rows(config: Config, rng: np.random.Generator, rows: int) -> list[NDArray[np.bool_]]:
    """Which rows of a head, in tile order, are computed, [rows] each; always the first one.

    For every share so many of all; of those of the first half, which the others follow that are not; and tiles that
    have shares of their own.
    """
    tile = np.arange(rows) // config.query_rows
    kinds = [np.full(rows, share) for share in SHARES]
    kinds += [np.where(np.arange(rows) < rows / 2, share, 0) for share in SHARES]
    kinds += [rng.choice(SHARES, tile[-1] + 1)[tile] for _ in SHARES]
    return [(rng.random(rows) < shares) | (np.arange(rows) == 0) for shares in kinds]


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def heads(dut: Any, stalls: float) -> None:
    """Heads of many shapes, one after the other."""
    await check_heads(dut, SHAPES, stalls)


@cocotb.test()
async def rate(dut: Any) -> None:
    """Without stalls a row is taken in every cycle."""
    cycles = await check_heads(dut, SHAPES[:1], 0.0)
    assert_full_rate(cycles["i"])


@cocotb.test()
async def latency(dut: Any) -> None:
    """Without stalls full tiles of computed rows leave one after the other."""
    config, _ = job.read()
    rows = 6 * config.query_rows
    i, o = head_words(config, ((2, 3, config.query_rows), 0), np.ones(rows, bool), np.random.default_rng(1))
    cycles = await check_streams(dut, {"i": i * 2}, {"rows": (placed(config), o * 2)})
    assert_latency(cycles["i"], cycles["rows"], Compact(config).latency)
    assert_full_rate(cycles["rows"])


async def check_heads(dut: Any, shapes: tuple[Shape, ...], stalls: float) -> dict[str, list[int]]:
    """The cycles of all transfers."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    heads = [
        head_words(config, shape, computed, rng)
        for shape in shapes
        for computed in computed_rows(config, rng, int(np.prod(shape[0])) + shape[1])
    ]
    i, o = ([word for head in heads for word in head[n]] for n in range(2))
    return await check_streams(dut, {"i": i}, {"rows": (placed(config), o)}, stalls)


def head_words(
    config: Config, shape: Shape, computed: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Words that enter and that leave, for a head whose rows are `computed` [rows], in tile order."""
    tiles = make_tiles(config, *shape, config.query_rows)
    elements = rng.integers(0, 1 << FORMATS[config.float_format].bits, (len(computed), config.head_dim)).tolist()
    entering = [
        pack(
            decided(config),
            {"row": elements[n], "kept": computed[n], "place": where, "last": n == len(computed) - 1},
        )
        for n, where in enumerate(rows_at(tiles))
    ]
    by_token = np.empty_like(computed)
    by_token[tiles.order] = computed
    made = compact(config, tiles, by_token)
    rows = np.flatnonzero(computed)
    tile = np.repeat(np.arange(len(made.frame)), np.diff(made.start))
    assert len(rows) == len(made.order)
    leaving = []
    for n, row in enumerate(rows.tolist()):
        where = {
            "cell_end": n + 1 in made.cell_start,
            "tile_end": n + 1 in made.start,
            "frame": made.frame[tile[n]] + 1,
            "last": n == len(rows) - 1,
        }
        leaving.append(pack(placed(config), {"elements": elements[row], "place": where}))
    return entering, leaving
