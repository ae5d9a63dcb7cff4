"""Scoreboards: what a stream must deliver, in order, compared word by word."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from amaranth.hdl import ShapeLike

from sim.pack import flat, unpack


class Mismatch(AssertionError):
    """The design under test delivered something else than the golden model."""


def difference(layout: ShapeLike, word: int, wanted: int) -> str:
    """Which fields of a word differ from those of the wanted one, and both values of the first few."""
    got_fields, wanted_fields = flat(unpack(layout, word)), flat(unpack(layout, wanted))
    differing = [
        f"{path or 'value'} = {got_fields[path]}, expected {value}"
        for path, value in wanted_fields.items()
        if got_fields[path] != value
    ]
    return f"{len(differing)} fields differ: " + "; ".join(differing[:4])


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
            raise Mismatch(f"{where}: {difference(self.layout, word, wanted)}")
        self.compared += 1

    def finish(self) -> None:
        """To be called at the end of every bench."""
        if self.expected:
            raise Mismatch(
                f"{self.name}: {len(self.expected)} expected words never came, after {self.compared} that did"
            )
        if not self.compared:
            raise Mismatch(f"{self.name}: nothing was compared")
