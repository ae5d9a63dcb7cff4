"""Bench of the bank arbiter over memories of random words: every lane's words and, cycle by cycle, who is served when.

Without stalls the cycles are compared with golden.arbiter, and the throughput of each access pattern is reported as
`words_per_lane_cycle_<pattern>`.
"""

from __future__ import annotations

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

FULL_QUEUES = 2
"""From this depth on a queue takes a request in every cycle in which one leaves it, and so stays full."""

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


class Banks:
    """The memories: a word comes one cycle after `enable`, and is gone in the next. Every read must serve a lane.

    Must sample before the sources and sinks of the lanes, whose `cycles` then are those of earlier cycles.
    """

    def __init__(
        self,
        dut: Any,
        contents: dict[tuple[int, int], int],
        wanted: Sequence[Sequence[tuple[int, int]]],
        requests: Sequence[Source],
        words: Sequence[Sink],
    ) -> None:
        self.name = "reads"
        banks = range(1 + max(bank for bank, _ in contents))
        self.enable, self.address, self.data = (
            [getattr(dut, f"reads__{n}__{part}") for n in banks] for part in ("enable", "address", "data")
        )
        self.contents, self.wanted, self.requests, self.words = contents, wanted, requests, words
        self.cycles: list[int] = []
        self.shown = [0 for _ in banks]
        self.granted, self.waited = [0] * len(wanted), [0] * len(wanted)

    def drive(self) -> None:
        """Show the words that were read in the last cycle."""
        for data, word in zip(self.data, self.shown, strict=True):
            data.value = word

    def sample(self, cycle: int) -> None:
        """Serve the reads: a bank reads whenever a lane can take a word from it, and serves all that want this one."""
        heads = {
            lane: self.wanted[lane][self.granted[lane]]
            for lane, (source, sink) in enumerate(zip(self.requests, self.words, strict=True))
            if len(source.cycles) > self.granted[lane] and (sink.driven or not int(sink.valid.value))
        }
        served = set()
        for bank, (enable, read) in enumerate(zip(self.enable, self.address, strict=True)):
            if int(enable.value):
                word = bank, int(read.value)
                lanes = {lane for lane, head in heads.items() if head == word}
                assert lanes, f"cycle {cycle}: bank {bank} reads {word[1]:#x}, which no lane can take: {heads}"
                served |= lanes
                self.shown[bank] = self.contents[word]
                self.cycles.append(cycle)
            else:
                idle = [lane for lane, head in heads.items() if head[0] == bank]
                assert not idle, f"cycle {cycle}: bank {bank} does not read, though lanes {idle} wait for it"
                self.shown[bank] = (1 << len(self.data[bank])) - 1
        for lane, waited in enumerate(self.waited):
            self.granted[lane] += lane in served
            self.waited[lane] = waited + 1 if lane in heads and lane not in served else 0
            assert self.waited[lane] < len(self.waited), f"cycle {cycle}: lane {lane} waits too long: {self.waited}"


@cocotb.test()
@cocotb.parametrize(pattern=PATTERNS, stalls=STALLS)
async def served(dut: Any, pattern: str, stalls: float) -> None:
    """Words of all lanes in order; grants, latency, throughput and fairness."""
    config, _ = job.read()
    seed = cocotb.RANDOM_SEED
    rng = np.random.default_rng(seed)
    asked = indices(config, rng, pattern)
    total = bank_words(config) * config.banks
    contents = {located(config, n): int.from_bytes(rng.bytes(config.word_bits // 8)) for n in range(total)}
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
    bench.ports.insert(0, Banks(dut, contents, wanted, sources, sinks))
    await bench.reset()
    await bench.run(
        lambda: not any(board.expected for board in boards), limit=200 + int(40 * asked.size / (1 - stalls) ** 2)
    )
    await finish(bench, boards)
    if not stalls:
        entered, left = ([port.cycles for port in ports] for ports in (sources, sinks))
        job.report(**{f"words_per_lane_cycle_{pattern}": rate(left)})
        assert_timing(config, pattern, asked, entered, left)


def rate(left: Sequence[Sequence[int]]) -> float:
    """Words per lane and cycle, up to the cycle in which the first lane has had all of its words."""
    start, stop = min(cycles[0] for cycles in left), min(cycles[-1] for cycles in left)
    return sum(cycle <= stop for cycles in left for cycle in cycles) / (stop + 1 - start) / len(left)


def assert_timing(
    config: Config, pattern: str, asked: np.ndarray, entered: list[list[int]], left: list[list[int]]
) -> None:
    """The cycles of an undisturbed run are the golden ones, and what the pattern allows."""
    conflict_free = pattern == "broadcast" or (pattern == "structured" and config.lanes <= config.banks)
    if conflict_free:
        for before, after in zip(entered, left, strict=True):
            assert_latency(before, after, BankArbiter.latency)
    if config.request_depth < FULL_QUEUES:
        return
    first = entered[0][0] + BankArbiter.latency
    golden = [(first + grant.cycle, grant.lane) for grant in arbitrate(config, asked.tolist())]
    came = sorted((cycle, lane) for lane, cycles in enumerate(left) for cycle in cycles)
    differing = next((pair for pair in zip(came, golden, strict=True) if pair[0] != pair[1]), None)
    assert not differing, f"cycle and lane of a word: {differing[0]}, golden {differing[1]}"
    if conflict_free:
        for cycles in left:
            assert_full_rate(cycles)
    if pattern == "one_bank" and config.lanes <= bank_words(config):
        for cycles in left:  # lanes take turns, so none is ever more than a word ahead of another
            assert_full_rate(cycles, interval=config.lanes)
