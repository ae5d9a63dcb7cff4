"""Bench of the pool of query rows, and what that of keys shares: sums of parts, compared with golden.pool."""

from __future__ import annotations

import dataclasses
from typing import Any

import cocotb
import numpy as np
from amaranth.hdl import Shape, ShapeLike
from numpy.typing import NDArray

from golden.config import Config
from golden.pool import Pooled, pool
from rtl.pool import Pool, most_rows, pooled, query_form, row, total_max
from sim import job
from sim.benches.stimuli import KINDS, numbers
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, check_streams

PARTS = 240

Form = tuple[int, ShapeLike | None]
"""Width of the elements and shape of the exponents of rows."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows, part by part, and what says with a part's last row that it is the last of its tile."""

    vector: NDArray[np.int64]
    exponent: NDArray[np.int64]
    start: NDArray[np.int64]
    last: NDArray[np.bool_]

    @property
    def ends(self) -> NDArray[np.bool_]:
        """Whether a row is its part's last one, [rows]."""
        found = np.zeros(len(self.vector), bool)
        found[self.start[1:] - 1] = True
        return found

    def waits(self, most: int) -> list[int]:
        """Cycles by which each row holds up the next one, as rtl.pool states."""
        found, running = [], 0
        begins = set(self.start.tolist())
        for n, exponent in enumerate(self.exponent.tolist()):
            rise = 0 if n in begins else max(exponent - running, 0)
            found.append(min(rise, most))
            running = exponent if n in begins else max(exponent, running)
        return found


def exponents(rng: np.random.Generator, most: int, size: int, kind: int) -> NDArray[np.int64]:
    """Exponents of a part's rows, 0..most: equal, falling, rising, close ones, or any."""
    match kind:
        case 0:
            return np.full(size, rng.integers(0, most, endpoint=True))
        case 1 | 2:
            found = np.sort(np.clip(rng.integers(0, most, endpoint=True) + rng.integers(-6, 7, size), 0, most))
            return found[:: (1, -1)[kind - 1]]
        case 3:
            return np.clip(rng.integers(0, most, endpoint=True) + rng.integers(-2, 3, size), 0, most)
        case _:
            return rng.integers(0, most, size, endpoint=True)


def random_rows(config: Config, form: Form, rng: np.random.Generator, parts: int, level: bool = False) -> Rows:
    """Rows of extreme and of any numbers, in parts of one row, of many and of all sizes; all at one level if wanted."""
    width, exponent_shape = form
    bound = 1 << (width - 1)
    most = 0 if exponent_shape is None else (1 << Shape.cast(exponent_shape).width) - 1
    vectors, found, sizes = [], [], []
    for n in range(parts):
        largest = most_rows(config)
        size = (1, largest, config.cell, int(rng.integers(1, largest, endpoint=True)))[int(rng.integers(0, 4))]
        part = numbers(rng, -bound, bound - 1, (size, config.head_dim), n % KINDS)
        if n % 4 == 3:  # small sums, of any length
            part = part >> rng.integers(0, width)
        vectors.append(part)
        found.append(exponents(rng, most, size, 0 if level else n // KINDS % 6))
        sizes.append(size)
    last = rng.integers(0, 2, parts) == 1
    return Rows(np.concatenate(vectors), np.concatenate(found), np.concatenate([[0], np.cumsum(sizes)]), last)


def words(config: Config, form: Form, rows: Rows) -> list[int]:
    """The words of all rows. `last` is set at any row of a part but the last one too: it does not count there."""
    layout, found = row(config, *form), []
    part = np.repeat(np.arange(len(rows.last)), np.diff(rows.start))
    for n, ends in enumerate(rows.ends.tolist()):
        each = {"vector": rows.vector[n].tolist(), "ends": ends, "last": bool(rows.last[part[n]]) if ends else n % 2}
        if "exponent" in dict(layout):
            each["exponent"] = int(rows.exponent[n])
        found.append(pack(layout, each))
    return found


def pooled_fields(pooled: Pooled) -> list[dict[str, Any]]:
    """Mantissa, exponent and size of every part."""
    numbers = zip(pooled.mantissa.tolist(), pooled.exponent.tolist(), pooled.size.tolist(), strict=True)
    return [{"mantissa": mantissa, "exponent": exponent, "size": size} for mantissa, exponent, size in numbers]


async def check_pool(dut: Any, config: Config, form: Form, rows: Rows, stalls: float) -> list[int]:
    """All sums, and without stalls every row and sum in just the cycle that rtl.pool states."""
    layout = pooled(config, *form)
    golden = pool(config, rows.vector, rows.exponent, rows.start)
    last = rows.last.tolist()
    expected = [pack(layout, part | {"last": final}) for part, final in zip(pooled_fields(golden), last, strict=True)]
    cycles = await check_streams(dut, {"i": words(config, form, rows)}, {"o": (layout, expected)}, stalls)
    if not stalls:
        waits = rows.waits(total_max(config, form[0]).bit_length())
        taken = cycles["i"][0] + np.arange(len(waits)) + np.concatenate([[0], np.cumsum(waits)])[:-1]
        assert cycles["i"] == taken.tolist(), "rows are not taken in the cycles stated"
        left = (taken + Pool.latency + waits)[rows.ends]
        assert cycles["o"] == left.tolist(), "sums do not leave in the cycles stated"
    return cycles["i"]


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def sums(dut: Any, stalls: float) -> None:
    """Sums of rows with exponents in any order."""
    config, _ = job.read()
    rng, form = np.random.default_rng(cocotb.RANDOM_SEED), query_form(config)
    await check_pool(dut, config, form, random_rows(config, form, rng, PARTS), stalls)


@cocotb.test()
@cocotb.parametrize(alone=(False, True))
async def sustained(dut: Any, alone: bool) -> None:
    """A row in every cycle, from part to part, where exponents do not rise; also if every row is a part of its own."""
    config, _ = job.read()
    rng, form = np.random.default_rng(cocotb.RANDOM_SEED), query_form(config)
    rows = random_rows(config, form, rng, PARTS // 4, level=not alone)
    if alone:
        rows = dataclasses.replace(rows, start=np.arange(len(rows.vector) + 1), last=rows.ends)
    assert_full_rate(await check_pool(dut, config, form, rows, 0.0))
