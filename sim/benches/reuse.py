"""Bench of the reuse of rows: heads whose frames are alike, with a memory that is asked for references."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any

import cocotb
import numpy as np

from golden.config import Config
from golden.match import Matching, match
from golden.prepare import words
from golden.tiles import Tiles, make_tiles
from golden.traces import Head
from rtl import layouts
from rtl.head import shape
from rtl.reuse import WAITING, Reuse, decided, request, reused
from sim import job
from sim.pack import pack
from sim.reuse_words import reuse_words
from sim.scoreboard import Scoreboard
from sim.streams import STALLS, assert_full_rate, assert_latency, finish
from sim.testbench import Pauses, Source, Testbench
from sim.workload import moving_head

SHAPES = [
    ((3, 5, 7), 11, 0.5),
    ((5, 1, 1), 0, 0.5),
    ((1, 1, 1), 0, 0.5),
    ((9, 1, 1), 3, 0.2),
    ((0, 0, 0), 9, 0.5),
    ((4, 4, 8), 0, 0.0),
    ((6, 1, 3), 1, 0.5),
    ((3, 4, 4), 5, 1.0),
    ((1, 3, 3), 2, 0.5),
    ((4, 2, 9), 6, 0.4),
]
"""Grid and text of the heads, and the share of rows that move from frame to frame."""

LATENCIES = (1, WAITING - 1, 40)
"""Cycles that memory takes: the second is what the rows waiting can hide, whatever the configuration."""


@dataclasses.dataclass
class Words:
    """Packed words of heads."""

    head: list[int]
    i: list[int]
    request: list[int]
    reference: list[int]
    o: list[int]
    reused: list[int]


class Memory(Source):
    """Sends the references that it is asked for, in order, not earlier than `latency` cycles later."""

    def __init__(self, dut: Any, references: list[int], latency: int, pauses: Pauses) -> None:
        super().__init__(dut, "reference", (), pauses)
        self.references, self.latency = deque(references), latency
        self.due: deque[int] = deque()

    @property
    def done(self) -> bool:
        """All references were taken."""
        return not self.references and super().done

    def ask(self, cycle: int) -> None:
        """Asks for the next one."""
        self.due.append(cycle + self.latency)

    def sample(self, cycle: int) -> None:
        """Look at the ports once they have settled."""
        super().sample(cycle)
        if self.due and self.due[0] <= cycle + 1:
            self.due.popleft()
            self.words.append(self.references.popleft())


@cocotb.test()
@cocotb.parametrize(stalls=STALLS, latency=LATENCIES)
async def heads(dut: Any, stalls: float, latency: int) -> None:
    """Heads of many shapes, one after the other, with rows that are not finite among them."""
    config, _ = job.read()
    given = [
        moving_head(config, *shape, seed=cocotb.RANDOM_SEED + n, broken=0.1 * (n % 3 == 0))
        for n, shape in enumerate(SHAPES)
    ]
    matchings = [match(config, head) for head in given]
    computed = np.concatenate([each.computed for each in matchings])
    if config.reuse_distance:
        assert 0.4 < computed.mean() < 0.8, f"{computed.mean():.0%} of the rows are computed"
    await reuse(dut, all_words(config, given, matchings), stalls, latency)


@cocotb.test()
async def rate(dut: Any) -> None:
    """Without stalls a row takes as long as matching it."""
    config, _ = job.read()
    component, text, frame = Reuse(config), 5, 60
    head = moving_head(config, (4, 6, 10), text, 0.5, seed=cocotb.RANDOM_SEED)
    cycles = await reuse(dut, all_words(config, [head], [match(config, head)]), 0.0, LATENCIES[1])
    alone = text + frame
    assert_latency(cycles["i"][:alone], cycles["o"][:alone], component.latency)
    assert_full_rate(cycles["o"][:alone])
    assert_latency(cycles["reference"], cycles["o"][alone:], component.match.latency)
    assert_full_rate(cycles["o"][alone + frame :], component.match.chunks)
    assert cycles["reused"] == cycles["o"]


async def reuse(dut: Any, words: Words, stalls: float, latency: int) -> dict[str, list[int]]:
    """The cycles of all transfers."""
    config, _ = job.read()
    bench, seed = Testbench(dut), cocotb.RANDOM_SEED
    boards = {
        name: Scoreboard(name, layout, getattr(words, name))
        for name, layout in (("request", request(config)), ("o", decided(config)), ("reused", reused(config)))
    }
    memory = Memory(dut, words.reference, latency, Pauses(stalls, seed=seed))
    sources: list[Source] = [memory]
    bench.ports.append(memory)

    def asked(word: int, cycle: int) -> None:
        boards["request"].check(word, cycle)
        memory.ask(cycle)

    for n, name in enumerate(("head", "i")):
        sources.append(bench.source(name, getattr(words, name), Pauses(stalls, seed=seed + 1 + n)))
    for n, (name, board) in enumerate(boards.items()):
        bench.sink(name, asked if name == "request" else board.check, Pauses(stalls, seed=seed - 1 - n))
    await bench.reset()
    await bench.run(
        lambda: all(source.done for source in sources) and not any(board.expected for board in boards.values()),
        limit=len(words.i) * (latency + 100),
    )
    await finish(bench, list(boards.values()))
    return {port.name: port.cycles for port in bench.ports}


def all_words(config: Config, heads: list[Head], matchings: list[Matching]) -> Words:
    """The words of all heads."""
    found = Words([], [], [], [], [], [])
    for head, matching in zip(heads, matchings, strict=True):
        size = head.grid[1] * head.grid[2]
        found.head.append(pack(shape(config), {"text_tokens": head.text_tokens, "frame_tokens": size}))
        tiles = make_tiles(config, head.grid, head.text_tokens, config.query_rows)
        elements, positions = words(config, head, "q").tolist(), rows_at(tiles)
        for n, token in enumerate(tiles.order.tolist()):
            last, kept = n == len(tiles.order) - 1, bool(matching.computed[token])
            found.i.append(pack(layouts.row(config), {"elements": elements[token], "last": last}))
            row = {"row": elements[token], "kept": kept, "place": positions[n], "last": last}
            found.o.append(pack(decided(config), row))
        told = reuse_words(config, head, matching)
        found.request.extend(told.request)
        found.reference.extend(told.reference)
        found.reused.extend(told.reused)
    return found


def rows_at(tiles: Tiles) -> list[dict[str, int]]:
    """The position of every row, in order."""
    tile = np.repeat(np.arange(len(tiles.frame)), np.diff(tiles.start))
    ends = {"cell_end": tiles.cell_start, "tile_end": tiles.start}
    return [
        {name: int(n + 1 in start) for name, start in ends.items()}
        | {"tile_frame": int(tiles.frame[tile[n]]) + 1, "frame": int(tiles.place_frame[n]) + 1}
        for n in range(len(tiles.order))
    ]
