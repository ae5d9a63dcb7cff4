"""Bench of the online softmax: weights, sums and rescaling of interleaved rows, compared with golden.softmax."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.softmax import initial_max, softmax
from rtl import layouts
from rtl.softmax import Softmax
from sim import job
from sim.benches.stimuli import fields, split, visits
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, assert_latency, check_streams

KINDS = 8


def lane_scores(config: Config, rng: np.random.Generator, running_max: int, kind: int) -> NDArray[np.int64]:
    """Scores of a group whose row is at `running_max`: extremes, all, integers and their neighbours, or close ones."""
    bound, one = 1 << (config.score_bits - 1), 1 << config.score_fraction_bits
    match kind:
        case 0:
            scores = rng.choice([-bound, bound - 1], config.lanes)
        case 1:
            scores = np.full(config.lanes, -bound)
        case 2:
            scores = rng.integers(-bound, bound, config.lanes)
        case 3:  # the maximum rises by about what a sum can be shifted
            scores = (running_max + config.output_sum_bits + rng.integers(-3, 4, config.lanes)) * one
        case 4:
            scores = (running_max + rng.integers(-2, 3, config.lanes)) * one + rng.integers(-1, 2, config.lanes)
        case _:
            scores = running_max * one + rng.integers(-24 * one, (1, 8)[kind % 2] * one, config.lanes)
    return np.clip(scores, -bound, bound - 1)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def weights(dut: Any, stalls: float) -> None:
    """All lanes' weights and the row's tag; one lane group per cycle."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    running_max = np.zeros(config.query_rows, np.int64)
    words, expected = [], []
    for n, planned in enumerate(visits(config, rng)):
        _, visit = split(planned)
        row = visit["row"]
        if visit["first"] and visit["start"]:
            running_max[row] = initial_max(config)
        # A high maximum would stay to the end of the row and leave nothing to see: the highest scores are rare.
        kind = int(rng.integers(0 if n % 4 == 0 else 3, KINDS))
        scores = lane_scores(config, rng, int(running_max[row]), kind)
        active = (rng.random(config.lanes) < (0, 0.5, 1, 1)[rng.integers(0, 4)]).astype(bool)
        scales = fields(rng, layouts.scored(config)["scales"].shape)
        mantissa, shift = (np.array([s[name] for s in scales]) for name in ("value_mantissa", "value_shift"))
        shift[rng.random(config.lanes) < 0.5] = 0
        for scale, own in zip(scales, shift.tolist(), strict=True):
            scale["value_shift"] = own
        info = fields(rng, layouts.row_info(config))
        scored = {"score": scores.tolist(), "scales": scales, "visit": visit, "info": info}
        scored["active"] = sum(1 << lane for lane, on in enumerate(active) if on)
        words.append(pack(layouts.scored(config), scored))
        golden = softmax(config, scores[None, None], active[None], running_max[row, None], mantissa[None], shift[None])
        running_max[row] = golden.running_max.item()
        tag = {"rescale": golden.rescale.item(), "prob_sum": golden.prob_sum.item(), "info": info}
        expected.append(pack(layouts.value_operand(config), {"mantissa": golden.weight[0, 0].tolist(), "tag": tag}))
    cycles = await check_streams(dut, {"i": words}, {"o": (layouts.value_operand(config), expected)}, stalls)
    if not stalls:
        assert_latency(cycles["i"], cycles["o"], Softmax.latency)
        assert_full_rate(cycles["i"])
