"""Bench of the query buffer: rows of random bits must come back at every visit, and tiles be announced in order."""

from __future__ import annotations

import dataclasses
from typing import Any

import cocotb
import numpy as np

from golden.config import Config
from rtl import layouts
from rtl.query_buffer import QueryBuffer
from rtl.streams import slot_of
from sim import job
from sim.pack import pack
from sim.scoreboard import Scoreboard
from sim.streams import STALLS, assert_full_rate, assert_latency, finish
from sim.testbench import Pauses, Source, Testbench

TILES = 24
KEY_TILES = 4


@dataclasses.dataclass
class Tile:
    """One query tile: its rows, how the sequencer visits them, and what must come of it."""

    rows: list[int]
    announced: int
    beats: list[int] = dataclasses.field(default_factory=list)
    starts: list[bool] = dataclasses.field(default_factory=list)
    """[beats], whether the beat asks for a row"""
    operands: list[int] = dataclasses.field(default_factory=list)


def tile(config: Config, rng: np.random.Generator, n: int, rows: int, groups: int, passes: int) -> Tile:
    """The n-th query tile, visited for KEY_TILES key tiles by 1 to `groups` groups of 1 to `passes` passes."""
    slot = n % layouts.QUERY_SLOTS
    most = config.query_max
    mantissas = rng.integers(-most - 1, most, (rows, config.head_dim), endpoint=True)
    mantissas[0, :2] = -most - 1, most
    fields = [{"mantissa": row, "tag": random_tag(config, rng)} for row in mantissas.tolist()]
    aligned = [pack(layouts.aligned(config), row | {"last": k == rows - 1}) for k, row in enumerate(fields)]
    made = Tile(aligned, pack(slot_of(layouts.QUERY_SLOTS, config.row_bits), {"slot": slot, "meta": rows - 1}))
    operands = [pack(layouts.key_operand(config), row) for row in fields]
    for key_tile in range(KEY_TILES):
        for row in range(rows):
            made.operands.append(operands[row])
            count = int(rng.integers(1, groups, endpoint=True))
            for group in range(count):
                used = int(rng.integers(1, passes, endpoint=True))
                for digit in range(used):
                    final, ends = key_tile == KEY_TILES - 1, digit == used - 1 and group == count - 1
                    visit = {
                        "row": row,
                        "start": group == 0,
                        "end": group == count - 1,
                        "first": key_tile == 0,
                        "final": final,
                    }
                    beat = {
                        "tokens": rng.integers(0, config.tile, config.lanes).tolist(),
                        "active": rng.integers(0, 1 << config.lanes),
                        "digit": digit,
                        "last_digit": digit == used - 1,
                        "visit": visit,
                        "row_end": ends,
                        "tile_end": ends and row == rows - 1,
                        "query_end": final and row == rows - 1,
                        "tile_slot": rng.integers(0, config.tile_slots),
                        "query_slot": slot,
                    }
                    made.beats.append(pack(layouts.beat(config), beat))
                    made.starts.append(group == 0 and digit == 0)
    return made


def random_tag(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """What travels beside a row, of random bits."""
    half = 1 << config.output_exponent_bits - 1
    info = {"output_exponent": rng.integers(-half, half), "invalid": rng.integers(0, 2)}
    return {"exponent": rng.integers(0, 1 << layouts.query_tag(config)["exponent"].width), "info": info}


def split(tiles: list[Tile], part: str, cycles: list[int]) -> list[list[int]]:
    """Cycles of transfers, by tile."""
    ends = np.cumsum([len(getattr(tile, part)) for tile in tiles])[:-1]
    return [piece.tolist() for piece in np.split(np.array(cycles), ends)]


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def visits(dut: Any, stalls: float) -> None:
    """Rows, announcements, and that slots are freed in time; a row is read and another written every cycle."""
    config, _ = job.read()
    seed = cocotb.RANDOM_SEED
    rng = np.random.default_rng(seed)
    rows = [config.query_rows, 1, *rng.integers(1, config.query_rows, TILES - 2, endpoint=True).tolist()]
    # Every other tile is visited by single beats: then a row comes out in every cycle.
    tiles = [tile(config, rng, n, count, *((1, 1) if n % 2 else (3, config.digits))) for n, count in enumerate(rows)]

    bench = Testbench(dut)
    announced = Scoreboard("tile", slot_of(layouts.QUERY_SLOTS, config.row_bits), [tile.announced for tile in tiles])
    operands = Scoreboard("o", layouts.key_operand(config), [word for tile in tiles for word in tile.operands])
    loading = bench.source("i", [row for tile in tiles for row in tile.rows], Pauses(stalls, seed=seed))
    beats = bench.source("beats", pauses=Pauses(stalls, seed=seed + 1))

    def announce(word: int, cycle: int) -> None:
        announced.check(word, cycle)
        beats.words.extend(tiles[announced.compared - 1].beats)  # only now may they come

    bench.sink("tile", announce, Pauses(stalls, seed=seed + 2))
    output = bench.sink("o", operands.check, Pauses(stalls, seed=seed + 3))
    await bench.reset()
    words = sum(len(tile.rows) + len(tile.beats) for tile in tiles)
    await bench.run(
        lambda: loading.done and beats.done and not announced.expected and not operands.expected,
        limit=200 + int(40 * words / (1 - stalls) ** 2),
    )
    await finish(bench, [announced, operands])
    assert_slots(tiles, loading, beats, stalls)
    if not stalls:
        starts = [start for tile in tiles for start in tile.starts]
        asked = [cycle for cycle, start in zip(beats.cycles, starts, strict=True) if start]
        assert_latency(asked, output.cycles, QueryBuffer.latency)
        for cycles in split(tiles, "beats", beats.cycles):
            assert_full_rate(cycles)


def assert_slots(tiles: list[Tile], loading: Source, beats: Source, stalls: float) -> None:
    """A tile is loaded when that whose slot it takes has started its last visit; at once if nothing stalls."""
    loaded, visited = split(tiles, "rows", loading.cycles), split(tiles, "beats", beats.cycles)
    freed = [
        max(cycle for cycle, start in zip(cycles, tile.starts, strict=True) if start)
        for tile, cycles in zip(tiles, visited, strict=True)
    ]
    previous, overlapping = loaded[0][0] - 1, 0
    for n, cycles in enumerate(loaded):
        free = freed[n - layouts.QUERY_SLOTS] if n >= layouts.QUERY_SLOTS else -1
        assert cycles[0] > free, f"tile {n} is loaded from cycle {cycles[0]}, its slot is in use until {free}"
        if not stalls:
            first = max(previous, free) + 1
            assert cycles == list(range(first, first + len(cycles))), f"tile {n}, from cycle {first}: {cycles}"
        previous = cycles[-1]
        oldest = visited[max(0, n + 1 - layouts.QUERY_SLOTS)]
        overlapping += n > 0 and cycles[0] < oldest[-1] and cycles[-1] > oldest[0]
    assert overlapping > TILES // 4, f"only {overlapping} tiles were loaded while the oldest one held was visited"


@cocotb.test()
async def other_beats(dut: Any) -> None:
    """Beats that do not start a visit are taken also while no row can leave."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    only = tile(config, rng, 0, 2, 5, config.digits)
    bench = Testbench(dut)
    operands = Scoreboard("o", layouts.key_operand(config), only.operands)
    bench.source("i", only.rows)
    beats = bench.source("beats")
    announcement = bench.sink("tile")
    output = bench.sink("o", operands.check, Pauses(1.0))
    await bench.reset()
    await bench.run(lambda: bool(announcement.words), limit=20)
    beats.words.extend(only.beats)
    await bench.idle(len(only.beats) + 4)
    visit = only.starts.index(True, 1)
    assert len(beats.cycles) == visit, f"{len(beats.cycles)} beats were taken, of a visit of {visit}"
    output.pauses = Pauses()
    await bench.run(lambda: beats.done and not operands.expected, limit=20 + len(only.beats))
    await finish(bench, [operands])
