"""Bench of the bank arbiter over memories of random words: every lane's words and, cycle by cycle, who is served when.

Without stalls the cycles are compared with golden.arbiter, and the throughput of each access pattern is reported as
`words_per_lane_cycle_<pattern>`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np

from golden.arbiter import arbitrate, place
from golden.config import Config
from rtl import layouts
from rtl.arbiter import BankArbiter, address, request
from sim import job
from sim.pack import pack, unpack
from sim.scoreboard import Scoreboard
from sim.streams import STALLS, assert_full_rate, assert_latency, finish
from sim.testbench import Pauses, Sink, Source, Testbench

WORDS = 300
"""Words of each lane."""

FULL_RATE = 2
"""From this depth on a queue takes a request in every cycle in which one leaves it."""

PATTERNS = ("structured", "random", "broadcast", "one_bank")


def bank_words(config: Config) -> int:
    """Words that a bank is asked for: one for each of its rows, slots and digits."""
    return -(-config.tile // config.banks) * config.tile_slots * config.digits


def indices(config: Config, rng: np.random.Generator, pattern: str) -> np.ndarray:
    """Words asked for, [lanes, WORDS]: numbered over all slots and digits, interleaved over the banks as tokens are."""
    words, lanes, steps = bank_words(config), np.arange(config.lanes)[:, None], np.arange(WORDS)
    total = words * config.banks
    match pattern:
        case "structured":
            return (steps * config.lanes + lanes) % total
        case "random":
            return rng.integers(0, total, (config.lanes, WORDS))
        case "broadcast":
            return np.broadcast_to(rng.integers(0, total, WORDS), (config.lanes, WORDS))
        case _:  # all lanes in one bank, no two for the same word, as far as it has that many
            own = lanes % words + config.lanes * rng.integers(0, max(1, words // config.lanes), (config.lanes, WORDS))
            return own * config.banks + config.banks - 1


def located(config: Config, index: int) -> tuple[int, int]:
    """Bank and packed address of a word."""
    bank, rest = place(config, index)
    rest, digit = divmod(rest, config.digits)
    row, slot = divmod(rest, config.tile_slots)
    return bank, pack(address(config), {"digit": digit, "row": row, "slot": slot})


class Queue:
    """The requests of a lane to one part of the banks, which are served in order.

    `places` says which of the lane's requests these are. `head` takes the lane's `source` and `sink` as of the cycle's
    beginning.
    """

    def __init__(
        self, config: Config, wanted: Sequence[tuple[int, int]], part: int, source: Source, sink: Sink
    ) -> None:
        self.places = [n for n, (bank, _) in enumerate(wanted) if bank % config.request_window == part]
        self.words = [wanted[n] for n in self.places]
        self.room = 1 if config.request_window == 1 else config.request_depth
        self.source, self.sink = source, sink
        self.served = self.waited = 0

    def head(self) -> tuple[int, int] | None:
        """The word that the queue asks for: that of its oldest request, once there is room for it."""
        if self.served == len(self.places) or self.places[self.served] >= len(self.source.cycles):
            return None
        left = len(self.sink.cycles)
        left += self.sink.driven and bool(int(self.sink.valid.value))
        return self.words[self.served] if self.served - bisect_left(self.places, left) < self.room else None


class Banks:
    """The memories: a word comes one cycle after `enable`, and is gone in the next. Every read must serve a lane.

    Must sample before the sources and sinks of the lanes, whose `cycles` then are those of earlier cycles.
    """

    def __init__(self, dut: Any, contents: dict[tuple[int, int], int], lanes: Sequence[Sequence[Queue]]) -> None:
        self.name = "reads"
        banks = range(1 + max(bank for bank, _ in contents))
        self.enable, self.address, self.data = (
            [getattr(dut, f"reads__{n}__{part}") for n in banks] for part in ("enable", "address", "data")
        )
        self.contents, self.lanes = contents, lanes
        self.cycles: list[int] = []
        self.shown = [0 for _ in banks]

    def drive(self) -> None:
        """Show the words that were read in the last cycle."""
        for data, word in zip(self.data, self.shown, strict=True):
            data.value = word

    def sample(self, cycle: int) -> None:
        """Serve the reads: a bank reads whenever a lane can take a word from it, and serves all that want this one."""
        asked: list[dict[int, tuple[int, Queue]]] = [{} for _ in self.enable]
        for lane, queues in enumerate(self.lanes):
            for queue in queues:
                if head := queue.head():
                    asked[head[0]][lane] = head[1], queue
                else:
                    queue.waited = 0
        for bank, (enable, read) in enumerate(zip(self.enable, self.address, strict=True)):
            heads = {lane: word for lane, (word, _) in asked[bank].items()}
            if not int(enable.value):
                assert not heads, f"cycle {cycle}: bank {bank} does not read, though lanes {list(heads)} wait for it"
                self.shown[bank] = (1 << len(self.data[bank])) - 1
                continue
            word = int(read.value)
            assert word in heads.values(), (
                f"cycle {cycle}: bank {bank} reads {word:#x}, which no lane can take: {heads}"
            )
            self.shown[bank] = self.contents[bank, word]
            self.cycles.append(cycle)
            for lane, (wanted, queue) in asked[bank].items():
                queue.served += wanted == word
                queue.waited = 0 if wanted == word else queue.waited + 1
                assert queue.waited < len(self.lanes), f"cycle {cycle}: lane {lane} waits too long for bank {bank}"


@cocotb.test()
@cocotb.parametrize(pattern=PATTERNS, stalls=STALLS)
async def served(dut: Any, pattern: str, stalls: float) -> None:
    """Words of all lanes in order; grants, latency, throughput and fairness."""
    config, _ = job.read()
    seed = cocotb.RANDOM_SEED
    rng = np.random.default_rng(seed)
    asked = indices(config, rng, pattern)
    total = bank_words(config) * config.banks
    contents = {located(config, n): int.from_bytes(rng.bytes(layouts.word(config).size // 8)) for n in range(total)}
    wanted = [[located(config, index) for index in lane] for lane in asked.tolist()]

    bench = Testbench(dut)
    boards = [
        Scoreboard(f"words__{lane}", layouts.word(config), [contents[word] for word in words])
        for lane, words in enumerate(wanted)
    ]
    requests = [
        [pack(request(config), {"bank": bank, "address": unpack(address(config), word)}) for bank, word in words]
        for words in wanted
    ]
    sources = [bench.source(f"requests__{n}", words, Pauses(stalls, seed=seed + n)) for n, words in enumerate(requests)]
    sinks = [bench.sink(board.name, board.check, Pauses(stalls, seed=seed - 1 - n)) for n, board in enumerate(boards)]
    queues = [
        [Queue(config, words, part, source, sink) for part in range(config.request_window)]
        for words, source, sink in zip(wanted, sources, sinks, strict=True)
    ]
    bench.ports.insert(0, Banks(dut, contents, queues))
    await bench.reset()
    await bench.run(
        lambda: not any(board.expected for board in boards), limit=200 + int(40 * asked.size / (1 - stalls) ** 2)
    )
    await finish(bench, boards)
    if not stalls:
        entered, left = ([port.cycles for port in ports] for ports in (sources, sinks))
        job.report(**{f"words_per_lane_cycle_{pattern}": rate(left), f"words_ahead_{pattern}": ahead(left)})
        assert_timing(config, pattern, asked, entered, left)


def rate(left: Sequence[Sequence[int]]) -> float:
    """Words per lane and cycle, up to the cycle in which the first lane has had all of its words."""
    start, stop = min(cycles[0] for cycles in left), min(cycles[-1] for cycles in left)
    return sum(cycle <= stop for cycles in left for cycle in cycles) / (stop + 1 - start) / len(left)


def ahead(left: Sequence[Sequence[int]]) -> int:
    """Most words that a lane has had more than another at any time, up to the cycle in which the first has had all."""
    stop = min(cycles[-1] for cycles in left)
    had = np.array([[bisect_right(cycles, cycle) for cycle in range(stop + 1)] for cycles in left])
    return int((had.max(axis=0) - had.min(axis=0)).max())


def assert_timing(
    config: Config, pattern: str, asked: np.ndarray, entered: list[list[int]], left: list[list[int]]
) -> None:
    """The cycles of an undisturbed run are the golden ones, and what the pattern allows."""
    conflict_free = pattern == "broadcast" or (pattern == "structured" and config.lanes <= config.banks)
    if conflict_free:
        for before, after in zip(entered, left, strict=True):
            assert_latency(before, after, BankArbiter.latency)
    first = entered[0][0] + 1
    golden = sorted((first + grant.left, grant.lane) for grant in arbitrate(config, asked.tolist()))
    came = sorted((cycle, lane) for lane, cycles in enumerate(left) for cycle in cycles)
    differing = next((pair for pair in zip(came, golden, strict=True) if pair[0] != pair[1]), None)
    assert not differing, f"cycle and lane of a word: {differing[0]}, golden {differing[1]}"
    if config.request_depth < FULL_RATE:
        return
    if conflict_free:
        for cycles in left:
            assert_full_rate(cycles)
    if pattern == "one_bank" and config.lanes <= bank_words(config):
        for cycles in left:  # lanes take turns
            assert_full_rate(cycles, interval=config.lanes)
        assert ahead(left) == 1, f"a lane is {ahead(left)} words ahead of another"
