"""Bench of the rotation: rows of extreme and of any numbers, compared with golden.rotate."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from golden.rotate import rotate
from rtl.rotate import STAGES_PER_CYCLE, rotation_cycles, vector
from sim import job
from sim.benches.stimuli import KINDS, fields, numbers
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, assert_latency, check_streams

ROWS = 240
TAG_BITS = 1


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def rotated(dut: Any, stalls: float) -> None:
    """Rotated rows and their tags; one row every so many cycles."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    widths = config.centred_bits, config.centred_bits + config.rotation_stages
    entering, leaving = (vector(config, width, TAG_BITS) for width in widths)
    interval = rotation_cycles(config.rotation_stages, STAGES_PER_CYCLE)
    bound = 1 << (config.centred_bits - 1)
    rows = np.array([numbers(rng, -bound, bound - 1, (config.head_dim,), n % KINDS) for n in range(ROWS)])
    units = np.eye(config.head_dim, dtype=np.int64) * (bound - 1)  # all signs of the matrix, one by one
    mixed = np.sign(rotate(config, np.eye(config.head_dim, dtype=np.int64)))
    rows = np.concatenate([rows, units, mixed * bound - (mixed > 0)])  # and the largest sums
    tags = [fields(rng, entering["tag"].shape) for _ in rows]
    words, expected = (
        [pack(layout, {"vector": row, "tag": tag}) for row, tag in zip(vectors.tolist(), tags, strict=True)]
        for layout, vectors in ((entering, rows), (leaving, rotate(config, rows)))
    )
    cycles = await check_streams(dut, {"i": words}, {"o": (leaving, expected)}, stalls)
    if not stalls:
        assert_latency(cycles["i"], cycles["o"], interval)
        assert_full_rate(cycles["i"], interval)
