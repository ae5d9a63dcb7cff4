"""The memory around the complete hardware: it keeps what is written of every head, and sends it to who fetches it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from golden.config import Config
from rtl import layouts
from rtl.head import pooled, prepared, result
from rtl.reuse import request, reused
from sim.head_words import HeadWords
from sim.pack import unpack
from sim.scoreboard import Mismatch, Scoreboard, difference
from sim.testbench import Pauses, Source, Testbench

WRITTEN = {"prepared": prepared, "tiles": pooled, "cells": pooled}
"""Streams into the memory, and their layouts."""

Need = tuple[Scoreboard, int]
"""How many words of a stream must have been written."""


class Written(Pauses):
    """Stalls a source also until what it is to send next was written."""

    def __init__(self, probability: float, seed: int) -> None:
        super().__init__(probability, seed=seed)
        self.needs: list[Need] = []
        self.sent = 0

    def __call__(self) -> bool:
        """Whether this cycle is stalled; asked as long as nothing is offered."""
        if self.sent == len(self.needs):
            return True
        board, count = self.needs[self.sent]
        if board.compared < count or super().__call__():
            return True
        self.sent += 1
        return False


class Memory:
    """Compares all that is written with golden, and answers the `fetch` of every core."""

    def __init__(self, bench: Testbench, config: Config, heads: Sequence[HeadWords], stalls: float, seed: int) -> None:
        self.config, self.heads = config, heads
        self.boards = {
            name: Scoreboard(name, layout(config), [word for each in heads for word in getattr(each, name)])
            for name, layout in WRITTEN.items()
        }
        self.sinks = {
            name: bench.sink(name, board.check, Pauses(stalls, seed=seed + n))
            for n, (name, board) in enumerate(self.boards.items())
        }
        self.before: list[dict[str, int]] = []
        """Of every head, the words of each stream that were written of those before it"""
        count = dict.fromkeys(WRITTEN, 0)
        for each in heads:
            self.before.append(dict(count))
            count = {name: so_far + len(getattr(each, name)) for name, so_far in count.items()}
        if config.reuse_distance:
            self.serve_references(bench, stalls, seed + len(WRITTEN))
        for core in range(config.cores):
            self.serve(bench, core, stalls, seed + len(WRITTEN) + 3 * (1 + core))

    def serve_references(self, bench: Testbench, stalls: float, seed: int) -> None:
        """Rows that queries are compared with, and what came out of it."""
        answers = deque(word for each in self.heads for word in each.reuse.reference)
        source = bench.source("reference", (), Pauses(stalls, seed=seed))
        layout = {"request": request(self.config), "reused": reused(self.config)}
        told = {
            name: Scoreboard(name, layout[name], [word for each in self.heads for word in getattr(each.reuse, name)])
            for name in layout
        }

        def ask(word: int, cycle: int) -> None:
            told["request"].check(word, cycle)
            source.words.append(answers.popleft())

        bench.sink("request", ask, Pauses(stalls, seed=seed + 1))
        bench.sink("reused", told["reused"].check, Pauses(stalls, seed=seed + 2))
        self.boards |= told

    def serve(self, bench: Testbench, core: int, stalls: float, seed: int) -> None:
        """A core's streams."""
        token, means = Written(stalls, seed), Written(stalls, seed + 1)
        tokens = bench.source(f"token__{core}", (), token)
        pools = bench.source(f"pooled__{core}", (), means)
        at = 0

        def fetch(number: int, cycle: int) -> None:
            nonlocal at
            at = numbered(self.config, number, range(at, len(self.heads)), f"fetch__{core}: cycle {cycle}")
            head = self.heads[at]
            self.send(tokens, token, at, "prepared", head.token, len(head.token))  # whose values come after all keys
            self.send(pools, means, at, "tiles", head.tiles)
            self.send(pools, means, at, "cells", head.cells)

        bench.sink(f"fetch__{core}", fetch, Pauses(stalls, seed=seed + 2))

    def send(
        self, source: Source, written: Written, head: int, name: str, words: Sequence[int], after: int = 0
    ) -> None:
        """All words of a stream of a head, each once it was written: the first one `after` so many others."""
        source.words.extend(words)
        before = self.before[head][name] + after
        written.needs.extend((self.boards[name], before + n + 1) for n in range(len(words)))

    def finish(self) -> int:
        """Nothing is left, nothing was too much. Returns how many words were compared."""
        for board in self.boards.values():
            board.finish()
        return sum(board.compared for board in self.boards.values())


class Results:
    """Compares the rows of the output, which cores give in any order of query tiles."""

    def __init__(self, config: Config, heads: Sequence[HeadWords]) -> None:
        self.config, self.layout, self.compared = config, result(config), 0
        self.expected = [dict(enumerate(each.output)) for each in heads]
        self.ends = [set(each.row_start) for each in heads]
        self.elements = (1 << layouts.output(config).size) - 1
        self.left = sum(map(len, self.expected))

    def check(self, core: int, word: int, cycle: int) -> None:
        """Compare a row from a core."""
        got = unpack(self.layout, word)
        row, where = got["row"], f"output__{core}: cycle {cycle}, head {got['number']}, row {got['row']}"
        candidates = [n for n, rows in enumerate(self.expected) if row in rows]
        head = numbered(self.config, got["number"], candidates, where)
        wanted = self.expected[head].pop(row)
        if word & self.elements != wanted:
            raise Mismatch(f"{where}: {difference(layouts.output(self.config), word & self.elements, wanted)}")
        if got["last"] != (row + 1 in self.ends[head]):
            raise Mismatch(f"{where}: last = {got['last']}")
        self.compared += 1
        self.left -= 1

    def finish(self) -> int:
        """Every row came. Returns how many were compared."""
        if self.left or not self.compared:
            raise Mismatch(f"output: {self.left} expected rows never came, after {self.compared} that did")
        return self.compared


def numbered(config: Config, number: int, candidates: Sequence[int], where: str) -> int:
    """The first of some heads that has a number, which counts round."""
    for head in candidates:
        if head % (1 << config.head_number_bits) == number:
            return head
    raise Mismatch(f"{where}: no head that is left has number {number}")
