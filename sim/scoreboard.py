"""Scoreboards: what a stream must deliver, in order, compared word by word."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from amaranth.hdl import ShapeLike

from sim.pack import flat, unpack


class Mismatch(AssertionError):
    """The design under test delivered something else than the golden model."""


class Scoreboard:
    """Compares the words of one stream with the expected ones, exactly.

    `finish` raises Mismatch unless all expected words came and at least one was compared.
    """

    def __init__(self, name: str, layout: ShapeLike, expected: Iterable[int] = ()) -> None:
        self.name, self.layout = name, layout
        self.expected = deque(expected)
        self.compared = 0

    def check(self, word: int, cycle: int) -> None:
        """Compare one word; a difference raises Mismatch with the cycle, the index, the field and both values."""
        where = f"{self.name}: cycle {cycle}, word {self.compared}"
        if not self.expected:
            raise Mismatch(f"{where}: nothing more was expected, got {word:#x}")
        wanted = self.expected.popleft()
        if word != wanted:
            got_fields, wanted_fields = flat(unpack(self.layout, word)), flat(unpack(self.layout, wanted))
            differing = [
                f"{path or 'value'} = {got_fields[path]}, expected {value}"
                for path, value in wanted_fields.items()
                if got_fields[path] != value
            ]
            raise Mismatch(f"{where}: {len(differing)} fields differ: " + "; ".join(differing[:4]))
        self.compared += 1

    def finish(self) -> None:
        """To be called at the end of every bench."""
        if self.expected:
            raise Mismatch(
                f"{self.name}: {len(self.expected)} expected words never came, after {self.compared} that did"
            )
        if not self.compared:
            raise Mismatch(f"{self.name}: nothing was compared")
