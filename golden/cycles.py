"""How long the core takes for a schedule, if its streams are never late and its output is always taken.

Key tiles pass one after the other. For each these are the cycles, from 0 on, in which something is done with it:

    loaded    its last token is written: one a cycle, after those of the tile before, once a slot is free;
    listed    its last lane group is written, likewise;
    aligned   the last row of its query tile is written, likewise;
    taken     the sequencer takes it: the cycle after all three, or with the last pass of the tile before;
    sent      its last pass leaves the sequencer: one a cycle;
    keys      its last pass enters q . k: `BUFFER` cycles later, but as many after the tile before as its passes take;
    values    its last pass enters p . v: `latency` cycles after q . k, but as many after the tile before;
    left      its last row leaves for the normaliser, if it is the query tile's last: `chunks` cycles after another.

`values` frees one of `tile_slots` slots for a tile, `sent` one of two lists of lane groups, and the first pass of a
query tile's last row one of its two places. What p . v has not taken holds up the passes before it, once the queues
between are full. So each is the maximum of a few others, plus what a key tile takes: rows and passes are multiplied,
not walked through. Only the lane groups that a row meets are looked at one by one, since their order matters.

It is exact but for a few cycles where key tiles of unlike tiers meet with few passes each, or where banks collide: the
queues between q . k and p . v are counted in passes, though some hold lane groups. Banks whose requests overtake each
other (config.request_window) are counted as if they did not.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from golden.config import Config
from golden.control import row_passes
from golden.counters import bank_cycles
from golden.latencies import ALIGN, BUFFER, LISTS, NORMALISE, QUERY_TILES, SOFTMAX, WEIGHTS, latencies
from golden.schedule import LaneGroup, Schedule

SPARE = 8
"""Passes that may wait for p . v beyond those that are under way without stalls."""
ROWS = 4
"""Rows after which a key tile takes equally long for others, and over which that is measured."""


@dataclasses.dataclass(frozen=True)
class Cycles:
    """Where the cycles up to the last row go; as the counters of the hardware call it, but for the two ends."""

    fill: int
    """From the sequencer to q . k, once"""
    busy: int
    """Passes"""
    waits_output: int
    """Of q . k for what is behind it: p . v and the normaliser"""
    waits_bank: int
    """For words of banks that several lanes ask"""
    waits_query: int
    """For query tiles; that before the first pass included, here and below"""
    waits_token: int
    """For key tiles"""
    waits_group: int
    """For lists of lane groups"""
    drain: int
    """From the last pass of q . k to the last row: p . v, its sums and their normalisation"""

    @property
    def total(self) -> int:
        """Cycles from the first word to the last row."""
        return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True)
class Visit:
    """One key tile as a row meets it."""

    groups: int
    passes: int
    cycles: int
    """of the passes, waits for words of banks that several lanes ask included"""
    stops: float
    """cycles in which q . k stands still besides, because weights wait"""
    lag: int
    """cycles by which p . v is behind at the end, because of a long lane group"""


def visit(config: Config, groups: Sequence[LaneGroup]) -> Visit:
    """What a row's passes over the groups of a key tile take, if rows like it come before.

    p . v begins a group once it has the weights of its last pass, and has ended the group before. A long group makes
    short ones behind it late: so many weights wait then that the softmax stops, and with it q . k unless the softmax
    has nothing to take just then. Times are without the latency of q . k and its scores.
    """
    passes = [config.passes(group.tier) for group in groups]
    banks = bank_cycles(config, groups)
    moved = late = warm = value = 0  # cycles of q . k, moving and standing still; the last pass of p . v
    begun = [0] * (config.digits + 1)  # first passes of p . v; as many weights may wait
    stops: list[tuple[int, int]] = []
    for row in range(2 * ROWS):
        warm = late if row == ROWS else warm
        for count, each in zip(passes, banks, strict=True):
            moved += count * each
            enters = moved + late
            stops = [stop for stop in stops if stop[1] > enters]
            if stops and stops[0][0] <= enters:
                enters = stops.pop(0)[1]
            late = enters - moved
            arrives = enters + SOFTMAX
            for start, end in stops:
                arrives += end - start if start < arrives else 0
            leaves = max(arrives, begun[-config.digits - 1])
            if leaves > arrives:
                stops.append((arrives, leaves))
            begun.append(max(value + each, leaves + WEIGHTS))
            value = begun[-1] + (count - 1) * each
    cycles = sum(count * each for count, each in zip(passes, banks, strict=True))
    lag = value - moved - late - SOFTMAX - WEIGHTS
    return Visit(len(groups), row_passes(config, (group.tier for group in groups)), cycles, (late - warm) / ROWS, lag)


@dataclasses.dataclass(frozen=True)
class _Taken:
    """When p . v takes the passes of a key tile."""

    begin: int
    """passes before it"""
    end: int
    """passes up to its last"""
    row: Visit
    rows: int
    natural: int
    """cycle of its last pass, if the normaliser takes every row at once"""
    interval: int
    """cycles between rows that leave"""
    left: int
    """cycle in which the last one does"""
    depth: int
    """cycles from p . v to the normaliser"""

    def cycle(self, count: int) -> int:
        """The cycle of the schedule's pass number `count`, which is one of this tile."""
        moves = (self.end - count) * self.row.cycles // self.row.passes
        return max(self.natural - moves, self.held_up(moves + self.depth))

    def held_up(self, moves: int) -> int:
        """The cycle in which p . v had so many moves before it until the last row left; it stands while a row waits."""
        early = max(0, moves - (self.rows - 1) * self.row.cycles)
        rows, rest = divmod(moves - early, self.row.cycles)
        return self.left - early - rows * self.interval - (self.interval - self.row.cycles + rest if rest else 0)


class _Timeline:
    """The cycles of the tile at hand, and of those before as far as they still matter."""

    def __init__(self, config: Config, schedule: Schedule) -> None:
        self.config, self.schedule = config, schedule
        known = latencies(config)
        # Passes between q . k and waiting weights; and between the sequencer and p . v, in the queue beside that.
        self.pipeline = known["key_multiplier"] + known["score"] + known["softmax"]
        self.queue = BUFFER + self.pipeline + config.digits + SPARE + config.request_depth + 1
        self.latency, self.depth = self.pipeline + WEIGHTS, known["value_multiplier"] + known["accumulate"]
        self.chunks = config.output_slices
        self.loaded = self.listed = self.keys = -1
        self.aligned = ALIGN - 1
        self.left, self.values = -self.chunks, -1  # `values` as if p . v never stood still
        self.sent: list[int] = []
        self.rows_sent: list[int] = []
        self.taken: list[_Taken] = []
        self.passes = self.waits_bank = 0
        self.waits: Counter[str] = Counter()

    def run(self) -> Cycles:
        """All key tiles."""
        known: dict[int, Visit] = {}
        sizes = np.diff(self.schedule.key_start).tolist()
        for rows, blocks in zip(self.schedule.rows.tolist(), self.schedule.blocks, strict=True):
            free = self.rows_sent[-QUERY_TILES] if len(self.rows_sent) >= QUERY_TILES else -1
            self.aligned = max(self.aligned, free) + rows
            for block in blocks:
                if id(block.groups) not in known:
                    known[id(block.groups)] = visit(self.config, block.groups)
                row = known[id(block.groups)]
                taken = self.take(sizes[block.key_tile], row.groups, block is blocks[0])
                self.compute(row, rows, taken, block is blocks[-1])
            self.rows_sent.append(self.sent[-1] - row.passes + 1)
        total, multiplied = self.left + self.chunks + NORMALISE + 1, self.keys + 1
        counted = {"fill": BUFFER, "busy": self.passes, "waits_bank": self.waits_bank, **self.waits}
        waits_output = multiplied - sum(counted.values())
        return Cycles(**counted, waits_output=waits_output, drain=total - multiplied)

    def take(self, tokens: int, groups: int, first: bool) -> int:
        """The cycle in which the sequencer takes the next key tile, the `first` of a query tile or not."""
        slots, sent = self.config.tile_slots, self.sent[-1] if self.sent else -1
        free = self.taken[-slots] if len(self.taken) >= slots else None
        self.loaded = max(self.loaded, free.cycle(free.end) if free else -1) + tokens
        self.listed = max(self.listed, self.sent[-LISTS] if len(self.sent) >= LISTS else -1) + groups
        ready = {
            "waits_query": self.aligned + 1 if first else 0,
            "waits_token": self.loaded + 1,
            "waits_group": self.listed + 1,
        }
        taken = max(sent, *ready.values())
        # q . k waits once it has had what was sent, for the first of these that lacks; the cycle that takes the tile
        # belongs to what came last.
        before = max(sent, self.keys - BUFFER)
        cause, start = max(ready, key=lambda name: ready[name]), before + 1
        for name, cycle in ready.items():
            self.waits[name] += max(0, cycle - start)
            cause, start = (name, cycle) if cycle > start else (cause, start)
        self.waits[cause] += taken > before
        return taken

    def compute(self, row: Visit, rows: int, taken: int, final: bool) -> None:
        """The passes of all rows, from the sequencer to p . v, and if `final` from there on."""
        begin, end = self.passes, self.passes + rows * row.passes
        interval, cycles = max(row.cycles, self.chunks if final else 0), rows * row.cycles
        stops = round(rows * row.stops) if interval < row.cycles + row.stops else 0

        # What is held up by passes of tiles before counts at once; by those of the tile itself, once they are known.
        held = end - self.pipeline - int((self.config.digits + 1) * row.passes / row.groups)
        self.keys = max(self.keys, taken + BUFFER) + cycles + stops
        if held <= begin:
            self.keys = max(self.keys, self.taken_at(held))
        weighted = self.keys + self.latency + row.lag
        natural = max(self.values + cycles, weighted)
        if final:
            first_row = max(self.values, weighted - cycles - stops) + row.cycles + self.depth
            first_row = max(first_row, self.left + self.chunks)
            self.left = max(first_row + (rows - 1) * interval, natural + self.depth)
            self.values = self.left - self.depth
        else:
            self.values = natural
        left = self.values + self.depth
        self.taken.append(_Taken(begin, end, row, rows, natural, interval, left, self.depth))
        if held > begin:
            self.keys = max(self.keys, self.taken_at(held))

        sent = max(taken + rows * row.passes, self.taken_at(end - self.queue) + 2)
        ahead = end - self.config.request_depth - 1  # the passes behind it fill the key buffer
        if ahead > begin:
            sent = max(sent, self.keys - (end - ahead) * row.cycles // row.passes + 1)
        self.sent.append(sent)
        self.passes, self.waits_bank = end, self.waits_bank + rows * (row.cycles - row.passes)

    def taken_at(self, count: int) -> int:
        """The cycle in which p . v took the schedule's pass number `count`."""
        for tile in reversed(self.taken):
            if count > tile.begin:
                return tile.cycle(count)
        return -1


def cycles(config: Config, schedule: Schedule) -> Cycles:
    """The cycles that a core takes for the whole schedule."""
    return _Timeline(config, schedule).run()
