"""The words of the core's streams for a whole attention, from its golden operands and schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from golden.attention import Operands
from golden.config import DIGIT_BITS, Config
from golden.schedule import LaneGroup, Schedule
from rtl import layouts
from sim.pack import pack


@dataclasses.dataclass(frozen=True)
class CoreWords:
    """Packed words of every input stream, in order. Tokens come again for every query tile."""

    query: list[int]
    token: list[int]
    group: list[int]


def core_words(config: Config, operands: Operands, schedule: Schedule) -> CoreWords:
    """All words that the core needs to compute the scheduled attention."""
    query = query_words(config, operands, schedule.query_start)
    tokens = _tokens(config, operands, set((schedule.key_start[1:] - 1).tolist()))
    starts = schedule.key_start.tolist()
    packed: dict[tuple[int, bool], list[int]] = {}
    token, group = [], []
    for blocks in schedule.blocks:
        for block in blocks:
            token += tokens[starts[block.key_tile] : starts[block.key_tile + 1]]
            final = block is blocks[-1]
            key = (id(block.groups), final)
            if key not in packed:
                packed[key] = group_words(config, block.groups, final)
            group += packed[key]
    return CoreWords(query, token, group)


def query_words(config: Config, operands: Operands, start: NDArray[np.int64]) -> list[int]:
    """The query rows as the core is fed them, in tiles between successive starts [query_tiles + 1]."""
    ends = set((start[1:] - 1).tolist())
    return [
        pack(layouts.query(config), {"elements": row, "output_exponent": operands.output_exponent, "last": n in ends})
        for n, row in enumerate(operands.query.tolist())
    ]


def group_words(config: Config, groups: Sequence[LaneGroup], final: bool) -> list[int]:
    """The lane groups of a key tile as the group stream carries them; `final` if it is the query tile's last."""
    return [
        pack(
            layouts.group(config),
            {
                "tier": group.tier,
                "tokens": group.tokens.tolist(),
                "active": lane_mask(group.active),
                "last": group is groups[-1],
                "final": final,
            },
        )
        for group in groups
    ]


def lane_mask(active: NDArray[np.bool_]) -> int:
    """Lanes as bits."""
    return sum(1 << lane for lane, on in enumerate(active) if on)


def _tokens(config: Config, operands: Operands, ends: set[int]) -> list[int]:
    keys, values = (stored(each).tolist() for each in (operands.key_digits, operands.value_digits))
    names = ("key_mantissa", "key_exponent", "value_mantissa", "value_shift")
    scales = zip(*(getattr(operands, name).tolist() for name in names), strict=True)
    return [
        pack(
            layouts.token(config),
            {"key": key, "value": value, "scales": dict(zip(names, scale, strict=True)), "last": n in ends},
        )
        for n, (key, value, scale) in enumerate(zip(keys, values, scales, strict=True))
    ]


def stored(digits: NDArray[np.int8]) -> NDArray[np.int64]:
    """Digits [digits, ...] as the token stream carries them: in two's complement, the first at the top."""
    word = np.zeros(digits.shape[1:], np.int64)
    for digit in digits:
        word = word << DIGIT_BITS | (digit & (1 << DIGIT_BITS) - 1)
    return word


def output_words(rows: NDArray[np.uint16]) -> list[int]:
    """The words of the core's output for FP16 bits [rows, head_dim]."""
    return [int.from_bytes(np.ascontiguousarray(row, dtype="<u2").tobytes(), "little") for row in rows]
