"""Bench of matching: pairs of rows that are close, equal, far or not finite, compared with golden.match."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.formats import FORMATS
from golden.match import compare, squares
from rtl.match import Match, matched, pair
from sim import job
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, assert_latency, check_streams

PAIRS = 400
KINDS = 8


def pairs(config: Config, rng: np.random.Generator) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Rows and references [PAIRS, head_dim]; about a half are at a distance near to the one that decides."""
    form = FORMATS[config.float_format]
    shape = (PAIRS, config.head_dim)
    kind = (np.arange(PAIRS) % KINDS)[:, None]
    rows = rng.standard_normal(shape) * np.exp2(rng.integers(-form.bias, form.bias - 4, (PAIRS, 1)))
    near = (config.reuse_distance or 0.1) * rng.choice([0.9, 0.98, 1, 1.02, 1.1], (PAIRS, 1))
    noise = rng.standard_normal(shape)
    noise *= np.linalg.norm(rows, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    references = form.encode(rows + near * noise)
    rows = form.encode(rows)

    largest = form.exponent_max - 1 << form.fraction_bits | (1 << form.fraction_bits) - 1
    top = 1 << form.bits - 1
    sign = rng.integers(0, 2, shape, np.uint16) * top
    rows = np.where(kind == 4, np.where(np.arange(PAIRS)[:, None] % 3 > 0, largest, largest | sign), rows)
    references = np.where(kind == 4, np.where(np.arange(PAIRS)[:, None] % 3 == 1, rows ^ top, 0), references)
    references = np.where(kind == 5, rows, references)
    # One element decides, wherever it is.
    here = np.arange(config.head_dim) == rng.integers(0, config.head_dim, (PAIRS, 1))
    both = rng.integers(0, 2, (PAIRS, 1))
    rows = np.where((kind == 6) & ~(here & (both == 0)), rows & (1 << form.fraction_bits) - 1, rows)
    references = np.where((kind == 6) & ~(here & (both == 1)), references & (1 << form.fraction_bits) - 1, references)
    anything = rng.integers(0, 1 << form.bits, (2, *shape), np.uint16)  # infinities and NaNs among them
    rows, references = np.where(kind == 7, anything[0], rows), np.where(kind == 7, anything[1], references)
    infinite = (rng.random((2, PAIRS, 1)) < 0.04) & here
    rows = np.where(infinite[0], form.exponent_max << form.fraction_bits, rows)
    references = np.where(infinite[1], form.nan, references)
    rows[-1] = references[-1] = references[-2] = 0
    return rows.astype(np.uint16), references.astype(np.uint16)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def matches(dut: Any, stalls: float) -> None:
    """Gaps, norms, and which rows are near; a pair in as many cycles as it has slices."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    rows, references = pairs(config, rng)
    _, near = compare(config, rows, references)
    gap, norm = squares(config, rows, references)
    if config.reuse_distance:
        assert PAIRS // 8 < near.sum() < PAIRS * 7 // 8, f"{near.sum()} of {PAIRS} rows are near"
    words = [
        pack(pair(config), {"row": row, "reference": reference})
        for row, reference in zip(rows.tolist(), references.tolist(), strict=True)
    ]
    expected = [pack(matched(config), {"near": near[n], "gap": gap[n], "norm": norm[n]}) for n in range(PAIRS)]
    cycles = await check_streams(dut, {"i": words}, {"o": (matched(config), expected)}, stalls)
    if not stalls:
        component = Match(config)
        assert_latency(cycles["i"], cycles["o"], component.latency)
        assert_full_rate(cycles["i"], component.chunks)
