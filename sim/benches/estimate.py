"""Bench of the estimates: ranks of many query tiles, compared with golden.estimate and golden.speculate."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cocotb
import numpy as np
from amaranth.hdl import Shape, ShapeLike
from numpy.typing import NDArray

from golden.align import align
from golden.config import Config
from golden.estimate import estimate
from golden.formats import FORMATS
from golden.pool import Pooled, pool
from golden.prepare import prepare, unit_power
from golden.speculate import speculate
from golden.tables import FACTOR_BITS, ONE
from golden.tiles import owner
from golden.traces import Head
from rtl.estimate import depth, latency, ranked
from rtl.estimate_score import pooled_key, pooled_query, power_bits
from rtl.pool import most_rows
from sim import job
from sim.benches.pool import pooled_fields
from sim.benches.stimuli import KINDS, fields, numbers
from sim.pack import pack
from sim.scoreboard import Scoreboard
from sim.streams import STALLS, finish
from sim.testbench import Pauses, Testbench

TILES = 72
"""Random query tiles."""
LEVELS = 6


@dataclasses.dataclass(frozen=True)
class Tile:
    """Pooled queries and the pooled keys, in parts that begin at `start` [parts]; of some nothing is looked at."""

    query: Pooled
    key: Pooled
    start: NDArray[np.int64]
    skipped: NDArray[np.bool_]
    scale: tuple[int, int]
    rank: NDArray[np.int64]

    @property
    def beats(self) -> list[int]:
        """The beats of the key stream, by the key that they stand for; -1 for those of skipped parts."""
        keys = np.split(np.arange(len(self.key.size)), self.start[1:])
        return [n for part, skip in zip(keys, self.skipped, strict=True) for n in ([-1] if skip else part.tolist())]


def made(
    config: Config,
    query: Pooled,
    key: Pooled,
    start: NDArray[np.int64],
    skipped: NDArray[np.bool_],
    scale: tuple[int, int],
) -> Tile:
    """A tile, with the ranks that the golden model finds."""
    inside = np.repeat(~skipped, np.diff(start, append=len(key.size)))
    rank = estimate(config, query, key, scale, start, np.tile(inside, (len(query.size), 1))).rank.max(axis=0)
    return Tile(query, key, start, skipped, scale, rank)


def span(layout: ShapeLike) -> tuple[int, int]:
    """Least and largest number of a signed shape."""
    half = 1 << (Shape.cast(layout).width - 1)
    return -half, half - 1


def random_pooled(
    config: Config, rng: np.random.Generator, count: int, exponent: int, limits: tuple[int, int], kind: int
) -> Pooled:
    """Pooled rows of extreme and of any mantissas, some of a few bits, with exponents near one that is given."""
    bound = 1 << (config.pool_bits - 1)
    mantissa = np.array([numbers(rng, -bound, bound - 1, (config.head_dim,), (kind, 5)[n % 2]) for n in range(count)])
    mantissa = mantissa >> rng.integers(0, (1, config.pool_bits)[kind % 2], (count, 1))
    return Pooled(
        mantissa,
        np.clip(exponent + rng.integers(-2, 3, count), *limits),
        np.where(rng.random(count) < 0.5, config.cell, rng.integers(1, most_rows(config), count, endpoint=True)),
    )


def random_tiles(config: Config, rng: np.random.Generator) -> Iterator[Tile]:
    """Tiles of one query and of many, of one key and of many, with scores of all sizes: up to saturated ones."""
    query_limits = span(pooled_query(config)["exponent"].shape)
    key_limits, power_limits = (span(pooled_key(config)["exponent"].shape), span(Shape(power_bits(config), True)))
    for n in range(TILES):
        some = int(rng.integers(1, config.query_cells, endpoint=True))
        queries = (1, min(2, config.query_cells), config.query_cells, some)[n % 4]
        parts = int(rng.integers(1, 1 + min(40, depth(config)))) if n % 3 else 1 + n % 2
        sizes = np.ones(parts, np.int64) if n % 5 == 0 else rng.integers(1, 5, parts)
        start, kind = np.concatenate([[0], np.cumsum(sizes)[:-1]]), int(rng.integers(0, KINDS))
        query_exponent = int(rng.integers(*query_limits))
        key_exponent = int(rng.integers(*key_limits))
        query = random_pooled(config, rng, queries, query_exponent, query_limits, n % KINDS)
        key = random_pooled(config, rng, int(sizes.sum()), key_exponent, key_limits, kind)
        factor = (ONE, 2 * ONE - 1, *rng.integers(ONE, 2 * ONE, 4).tolist())[int(rng.integers(0, 6))]
        if n % LEVELS == 0:
            power = int(rng.integers(*power_limits))
        else:  # half of the tiles have scores just below what saturates: there all bits count
            power = unsaturated(config, query, key, factor)
            power += 0 if n % 2 else 3 - int(rng.integers(0, config.estimate_bits))
        skipped = rng.random(parts) < rng.choice([0, 0, 0.3, 0.8, 1])
        yield made(config, query, key, start, skipped, (factor, int(np.clip(power, *power_limits))))
    yield from extreme(config)


def unsaturated(config: Config, query: Pooled, key: Pooled, factor: int) -> int:
    """The largest power with which no score saturates."""
    queries, keys = (np.ldexp(each.mantissa / each.size[:, None], each.exponent[:, None]) for each in (query, key))
    largest = np.abs(queries @ keys.T).max() * factor / ONE
    return config.estimate_integer_bits - 1 - int(np.frexp(largest)[1])


def extreme(config: Config) -> Iterator[Tile]:
    """As many keys as there can be, all of the same score: the largest masses. Then one of the least score."""
    rows = most_rows(config)
    count = config.max_tokens // rows
    size, one, bound = np.full(count, rows), np.ones(1, np.int64), 1 << (config.pool_bits - 1)
    for level, power in ((0, 0), (bound - 1, 0), (bound - 1, config.estimate_bits)):
        channels = np.full((count, config.head_dim), level)
        channels[-1] = -level
        query, key = Pooled(channels[:1], one, one), Pooled(channels, np.zeros(count, np.int64), size)
        yield made(config, query, key, np.array([0, count - 1]), np.zeros(2, bool), (ONE, power))


def realistic(config: Config, rng: np.random.Generator) -> Iterator[Tile]:
    """The tiles of a random head with text: of some the frames, and the pieces inside frames that are kept.

    Their ranks are those of golden.speculate.
    """
    frames, height, width, text = 3, 7, 9, config.tile + config.cell
    count = frames * height * width + text
    q, k, v = (rng.standard_normal((count, config.head_dim)).astype(np.float32) for _ in range(3))
    place = np.sin(np.arange(count)[:, None] * np.linspace(0.01, 0.5, config.head_dim))
    q, k = (each + 4 * place.astype(np.float32) for each in (q, k))
    prepared = prepare(config, Head("random", q, k, v, (frames, height, width), text))
    found = speculate(config, prepared)
    rows, columns = prepared.query_tiles, prepared.key_tiles
    power = unit_power(config, prepared.key_statistics.exponent) + prepared.factor[1]
    scale = prepared.factor[0], power - FORMATS[config.float_format].bias - (config.query_bits - 2)
    query = align(config, prepared.operands.query)
    zeros = np.zeros(len(prepared.key_vector), np.int64)

    def pooled(start: tuple[NDArray[np.int64], NDArray[np.int64]]) -> tuple[Pooled, Pooled]:
        return (
            pool(config, query.mantissa, query.exponent, start[0]),
            pool(config, prepared.key_vector, zeros, start[1]),
        )

    _, frame_of = np.unique(columns.frame, return_inverse=True)
    frame_start = np.flatnonzero(np.diff(frame_of, prepend=-1))
    means, cells = pooled((rows.start, columns.start)), pooled((rows.cell_start, columns.cell_start))
    pieces = np.searchsorted(columns.cell_start, columns.piece_start[:-1])
    tile_of = owner(rows.cell_start, rows.start)
    for tile in range(0, len(rows.frame), 5):
        none = np.zeros(len(frame_start), bool)
        yield Tile(some(means[0], np.array([tile])), means[1], frame_start, none, scale, found.frame_rank[tile])
        skipped = ~found.frames_kept[tile][frame_of[columns.piece_tile]]
        yield Tile(some(cells[0], np.flatnonzero(tile_of == tile)), cells[1], pieces, skipped, scale, found.rank[tile])


def some(pooled: Pooled, index: NDArray[np.int64]) -> Pooled:
    """Some of the pooled rows."""
    return Pooled(pooled.mantissa[index], pooled.exponent[index], pooled.size[index])


def query_words(config: Config, tiles: Iterable[Tile]) -> list[int]:
    """All pooled queries."""
    return [
        pack(pooled_query(config), query | {"last": n == len(tile.query.size) - 1})
        for tile in tiles
        for n, query in enumerate(pooled_fields(tile.query))
    ]


def key_words(config: Config, tiles: Iterable[Tile], rng: np.random.Generator) -> list[int]:
    """All pooled keys. A beat of a skipped part is of random bits, since they do not count."""
    found = []
    for tile in tiles:
        keys, beats = pooled_fields(tile.key), tile.beats
        ends = {*(tile.start[1:] - 1).tolist(), len(keys) - 1}
        for n, key in enumerate(beats):
            if key < 0:
                beat = fields(rng, pooled_key(config)) | {"empty": 1, "size": most_rows(config)}
            else:
                beat = keys[key] | {"ends": key in ends, "empty": 0}
            found.append(pack(pooled_key(config), beat | {"last": n == len(beats) - 1}))
    return found


class Scale:
    """Sets the scale of the tile at work, from the first cycle in which its queries may come."""

    def __init__(self, dut: Any, config: Config, tiles: Sequence[Tile], ranks: Scoreboard) -> None:
        self.name, self.cycles = "scale", []
        self.dut, self.ranks = dut, ranks
        self.scales = [tile.scale for tile in tiles]
        self.until = np.cumsum([len(tile.rank) for tile in tiles])
        self.mask = (1 << power_bits(config)) - 1

    def drive(self) -> None:
        """As many ranks were compared before this cycle."""
        tile = int(np.searchsorted(self.until, self.ranks.compared, side="right"))
        if tile < len(self.scales):
            self.dut.factor.value, self.dut.power.value = self.scales[tile][0], self.scales[tile][1] & self.mask

    def sample(self, cycle: int) -> None:
        """Nothing to look at."""


async def check(dut: Any, config: Config, tiles: Sequence[Tile], stalls: float) -> None:
    """All ranks, and without stalls every transfer in just the cycle that rtl.estimate states."""
    seed = cocotb.RANDOM_SEED
    assert all(tile.scale[0] < 1 << FACTOR_BITS for tile in tiles)
    words = [
        pack(ranked(config), {"rank": rank, "last": n == len(tile.rank) - 1})
        for tile in tiles
        for n, rank in enumerate(tile.rank.tolist())
    ]
    bench, ranks = Testbench(dut), Scoreboard("o", ranked(config), words)
    bench.ports.append(Scale(dut, config, tiles, ranks))
    queries = bench.source("query", query_words(config, tiles), Pauses(stalls, seed=seed))
    keys = bench.source("key", key_words(config, tiles, np.random.default_rng(seed)), Pauses(stalls, seed=seed + 1))
    output = bench.sink("o", ranks.check, Pauses(stalls, seed=seed + 2))
    await bench.reset()
    work = sum(len(tile.query.size) * (len(tile.beats) + 1) + len(tile.rank) + 40 for tile in tiles)
    limit = 200 + int(work / (1 - stalls) ** 3)
    await bench.run(lambda: queries.done and keys.done and not ranks.expected, limit)
    await finish(bench, [ranks])
    if not stalls:
        assert_cycles(config, tiles, (queries.cycles, keys.cycles, output.cycles))


def assert_cycles(config: Config, tiles: Sequence[Tile], found: tuple[list[int], list[int], list[int]]) -> None:
    """Every transfer in just the cycle that rtl.estimate states."""
    stated: tuple[list[int], list[int], list[int]] = [], [], []
    cycle = found[0][0]
    for tile in tiles:
        queries, beats = len(tile.query.size), tile.beats
        stated[0].extend(range(cycle, cycle + queries))
        cycle += queries
        for n, key in enumerate(beats):
            cycle += 1 if key < 0 and n < len(beats) - 1 else queries
            stated[1].append(cycle - 1)
        cycle += latency(config) - 2
        stated[2].extend(range(cycle + 1, cycle + 1 + len(tile.rank)))
        cycle += len(tile.rank) + 1
    for name, cycles, wanted in zip(("query", "key", "o"), found, stated, strict=True):
        assert cycles == wanted, f"{name}: transfers are not in the cycles stated"


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def random(dut: Any, stalls: float) -> None:
    """Random and extreme numbers."""
    config, _ = job.read()
    await check(dut, config, list(random_tiles(config, np.random.default_rng(cocotb.RANDOM_SEED))), stalls)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def heads(dut: Any, stalls: float) -> None:
    """A random head, as speculation looks at it."""
    config, _ = job.read()
    await check(dut, config, list(realistic(config, np.random.default_rng(cocotb.RANDOM_SEED))), stalls)
