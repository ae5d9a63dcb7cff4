"""Stimuli that several benches share: extreme numbers, random payloads, and the order in which rows are visited."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Shape, ShapeLike
from numpy.typing import NDArray

from golden.config import DIGIT_MAX, DIGIT_MIN, Config, Tier
from sim.pack import Fields, unpack

KINDS = 6


def numbers(rng: np.random.Generator, least: int, most: int, shape: tuple[int, ...], kind: int) -> NDArray[np.int64]:
    """Integers in least..most: by `kind`, of 0..KINDS-1, all most, all least, either, all zero, near zero, any."""
    match kind:
        case 0 | 1:
            return np.full(shape, (most, least)[kind], np.int64)
        case 2:
            return np.where(rng.integers(0, 2, shape) == 1, most, least)
        case 3:
            return np.zeros(shape, np.int64)
        case 4:
            return np.clip(rng.integers(-2, 3, shape), least, most)
        case _:
            return rng.integers(least, most + 1, shape)


def digit_numbers(rng: np.random.Generator, shape: tuple[int, ...], kind: int) -> NDArray[np.int8]:
    """Digits, as `numbers`."""
    return numbers(rng, DIGIT_MIN, DIGIT_MAX, shape, kind).astype(np.int8)


def fields(rng: np.random.Generator, layout: ShapeLike) -> Fields:
    """A payload of random bits, for what a component only hands on."""
    return unpack(layout, int.from_bytes(rng.bytes(-(-Shape.cast(layout).width // 8)), "little"))


def visits(config: Config, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Visits of rows in the sequencer's order, over several query tiles back to back.

    One for every lane group, with its `tier`. Query tiles of one row and of all, key tiles of one group and of many,
    rows of one visit and of many.
    """
    rows, groups = config.query_rows, config.max_groups
    plans = [(1, [1]), (1, [1, 1, 1]), (2, [1]), (1, [groups, 1, 2]), (2, [1, 1, 2, 1]), (rows, [1]), (rows, [groups])]
    plans += [(int(rng.integers(1, rows + 1)), rng.integers(1, 4, rng.integers(1, 5)).tolist()) for _ in range(24)]
    for last_row, key_tiles in ((rows - 1, key_tiles) for rows, key_tiles in plans):
        tiers = [rng.choice(list(Tier), count).tolist() for count in key_tiles]
        for (tile, count), row in itertools.product(enumerate(key_tiles), range(last_row + 1)):
            for group in range(count):
                yield {
                    "row": row,
                    "start": group == 0,
                    "end": group == count - 1,
                    "first": tile == 0,
                    "final": tile == len(key_tiles) - 1,
                    "tier": tiers[tile][group],
                }


def split(visit: Mapping[str, Any]) -> tuple[Tier, dict[str, Any]]:
    """A visit's tier, and what the hardware sees of it."""
    return Tier(visit["tier"]), {name: value for name, value in visit.items() if name != "tier"}
