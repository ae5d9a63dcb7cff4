"""What the benches of key_buffer and value_buffer share: tokens are written, read by beats, and compared."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any

import cocotb
import numpy as np
from amaranth.lib import data

from golden.config import DIGIT_BITS, DIGIT_MAX, DIGIT_MIN, Config
from rtl import layouts
from rtl.token_buffer import TokenBuffer, entry, words_layout
from sim import job
from sim.benches.stimuli import fields
from sim.core_words import stored
from sim.pack import pack
from sim.scoreboard import Scoreboard
from sim.streams import assert_full_rate, assert_latency, finish
from sim.testbench import Pauses, Testbench

PATTERNS = ("consecutive", "random")
"""Tokens of a beat: neighbours, as dense groups have them, or any."""

BEATS = 60
"""Beats of a round."""


@dataclasses.dataclass
class Token:
    """A token as written, and what it and each of its digits must give."""

    entry: int
    codes: list[int]
    """[head_dim]"""
    words: list[list[int]]
    """[digits][head_dim]"""
    side: dict[str, int]


class Writer:
    """Drives the plain write ports with (slot, token, entry), in order."""

    def __init__(self, dut: Any, pauses: Pauses) -> None:
        self.name, self.pauses = "write", pauses
        self.write, self.ports = dut.write, (dut.slot, dut.token, dut.entry)
        self.words: deque[tuple[int, int, int]] = deque()
        self.cycles: list[int] = []
        self.driven = False
        self.write.value = 0

    @property
    def done(self) -> bool:
        """All tokens were written."""
        return not self.words

    def drive(self) -> None:
        """Set the ports after the clock's edge."""
        self.driven = bool(self.words) and not self.pauses()
        self.write.value = self.driven
        if self.driven:
            for port, value in zip(self.ports, self.words[0], strict=True):
                port.value = value

    def sample(self, cycle: int) -> None:
        """A write takes one cycle."""
        if self.driven:
            self.words.popleft()
            self.cycles.append(cycle)


def random_tile(config: Config, rng: np.random.Generator, side: data.Layout) -> list[Token]:
    """A full tile with codes of the whole range, its ends included, and side data of random bits."""
    digits = rng.integers(DIGIT_MIN, DIGIT_MAX, (config.digits, config.tile, config.head_dim), np.int8, endpoint=True)
    digits[:, :, :2] = DIGIT_MIN, DIGIT_MAX
    words = (digits & (1 << DIGIT_BITS) - 1).swapaxes(0, 1).tolist()
    sides = [fields(rng, side) for _ in range(config.tile)]
    return [
        Token(pack(entry(config, side), {"codes": code, "side": beside}), code, word, beside)
        for code, word, beside in zip(stored(digits).tolist(), words, sides, strict=True)
    ]


def random_beat(config: Config, rng: np.random.Generator, pattern: str, slots: list[int]) -> dict[str, Any]:
    """A beat of one of `slots`; lanes that are not active repeat the token of one that is."""
    if pattern == "consecutive":
        tokens = rng.integers(0, config.tile - config.lanes, endpoint=True) + np.arange(config.lanes)
    else:
        tokens = rng.integers(0, config.tile, config.lanes)
    whole = config.word_digits > 1 and bool(rng.integers(0, 2))
    active = config.lanes if rng.integers(0, 2) else int(rng.integers(1, config.lanes, endpoint=True))
    tokens[active:] = tokens[0]
    return fields(rng, layouts.beat(config)) | {
        "tokens": tokens.tolist(),
        "active": (1 << active) - 1,
        "digit": 0 if whole else int(rng.integers(0, config.digits)),
        "whole": whole,
        "tile_slot": int(rng.choice(slots)),
    }


async def check_reads(dut: Any, buffer: Callable[[Config], TokenBuffer], pattern: str, stalls: float) -> None:
    """Fill all slots; then, in rounds, read all slots but one in turn, which is written anew meanwhile."""
    config, _ = job.read()
    seed = cocotb.RANDOM_SEED
    rng = np.random.default_rng(seed)
    side = buffer(config).side
    layout = words_layout(config, side)
    bench = Testbench(dut)
    board = Scoreboard("o", layout)
    writer = Writer(dut, Pauses(stalls, seed=seed))
    bench.ports.append(writer)
    source = bench.source("i", pauses=Pauses(stalls, seed=seed + 1))
    beside_digit = DIGIT_BITS * (config.word_digits - 1)  # bits of a code that mean nothing if a single digit is read
    unread = pack(layout, {"codes": [[(1 << beside_digit) - 1] * config.head_dim] * config.lanes})
    whole = pack(layout, {"beat": {"whole": config.word_digits > 1}})

    def check(word: int, cycle: int) -> None:
        board.check(word if word & whole else word & ~unread, cycle)

    sink = bench.sink("o", check, Pauses(stalls, seed=seed + 2))
    await bench.reset()

    def fill(slot: int) -> list[Token]:
        made = random_tile(config, rng, side)
        writer.words.extend((slot, token, made[token].entry) for token in rng.permutation(config.tile).tolist())
        return made

    limit = 200 + int(40 * config.tile_slots * (config.tile + config.lanes * BEATS) / (1 - stalls) ** 2)
    tiles = [fill(slot) for slot in range(config.tile_slots)]
    await bench.run(lambda: writer.done, limit)
    for written in [*range(config.tile_slots), *range(config.tile_slots)]:
        fresh = fill(written)
        others = [slot for slot in range(config.tile_slots) if slot != written]
        beats = [random_beat(config, rng, pattern, others) for _ in range(BEATS)]
        for beat in beats:
            tokens = [tiles[beat["tile_slot"]][token] for token in beat["tokens"]]
            sides = [token.side for token in tokens]
            read = [[digit << beside_digit for digit in token.words[beat["digit"]]] for token in tokens]
            codes = [token.codes for token in tokens] if beat["whole"] else read
            board.expected.append(pack(layout, {"codes": codes, "side": sides, "beat": beat}))
        source.words.extend(pack(layouts.beat(config), beat) for beat in beats)
        await bench.run(lambda: writer.done and not board.expected, limit)
        tiles[written] = fresh
        conflict_free = pattern == "consecutive" and config.lanes <= config.banks
        if conflict_free and not stalls and config.request_depth >= 2:
            assert_latency(source.cycles[-BEATS:], sink.cycles[-BEATS:], TokenBuffer.latency)
            assert_full_rate(source.cycles[-BEATS:])
    await finish(bench, [board])
