"""Bench of the accumulation: sums of interleaved rows over all passes, compared with golden.accumulate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cocotb
import numpy as np

from golden.accumulate import accumulate
from golden.config import DIGIT_MIN, Config, Tier
from golden.digits import seen
from golden.multiplier import multiply, multiply_rows
from rtl import layouts
from rtl.accumulate import Accumulate
from sim import job
from sim.benches.stimuli import KINDS, digit_numbers, fields, numbers, split, visits
from sim.pack import Fields, pack
from sim.streams import STALLS, assert_full_rate, assert_latency, check_streams


class Rows:
    """Lane groups as the accumulation gets them, the rows' golden sums, and what must come out."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.words: list[int] = []
        self.expected: list[int] = []
        self.last_passes: list[int] = []
        """words that complete a row"""
        self.prob_total = np.zeros((config.query_rows, 1), np.int64)
        self.output_sum = np.zeros((config.query_rows, 1, config.head_dim), np.int64)

    def add(self, tier: Tier, visit: dict[str, Any], weight: np.ndarray, digits: np.ndarray, tag: Fields) -> None:
        """A lane group: weights [lanes], digits [digits, lanes, head_dim] of the values."""
        config, row = self.config, visit["row"]
        value_sum = multiply_rows(weight[None], seen(config, digits, config.value_digit_step)[tier].T)
        whole = config.passes(tier) < config.digits_read(tier)
        for index in range(config.passes(tier)):
            last = index == config.passes(tier) - 1
            dot = value_sum[0] if whole else multiply(weight, digits[index].T)
            product = {
                "dot": dot.tolist(),
                "operand_tag": tag,
                "tag": {"digit": index, "whole": whole, "last_digit": last, "visit": visit},
            }
            self.words.append(pack(layouts.value_product(config), product))
        if visit["first"] and visit["start"]:
            self.prob_total[row], self.output_sum[row] = 0, 0
        rescale = np.array([tag["rescale"]])
        self.prob_total[row] = accumulate(self.prob_total[row], rescale, np.array([tag["prob_sum"]]))
        self.output_sum[row] = accumulate(self.output_sum[row], rescale, value_sum)
        if visit["end"] and visit["final"]:
            self.last_passes.append(len(self.words) - 1)
            sums = {"prob_total": self.prob_total[row, 0], "output_sum": self.output_sum[row, 0].tolist()}
            self.expected.append(pack(layouts.finished(config), {"sums": sums, "info": tag["info"]}))

    async def check(self, dut: Any, stalls: float) -> None:
        """Compare all rows."""
        layout = layouts.finished(self.config)
        cycles = await check_streams(dut, {"i": self.words}, {"o": (layout, self.expected)}, stalls)
        if not stalls:
            assert_latency([cycles["i"][n] for n in self.last_passes], cycles["o"], Accumulate.latency)
            assert_full_rate(cycles["i"])


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def interleaved(dut: Any, stalls: float) -> None:
    """Rows of one visit and of many, rescaled by nothing, a little and all; one pass per cycle."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    rows = Rows(config)
    rescales: tuple[Callable[[], int], ...] = (
        lambda: 0,
        lambda: int(rng.integers(0, 4)),
        lambda: int(rng.integers(0, config.output_sum_bits + 1)),
    )
    for n, planned in enumerate(visits(config, rng)):
        tier, visit = split(planned)
        weight = numbers(rng, 0, config.prob_max, (config.lanes,), n % KINDS)
        digits = digit_numbers(rng, (config.digits, config.lanes, config.head_dim), n // KINDS % KINDS)
        prob_sum = int(numbers(rng, 0, config.prob_max * config.lanes, (), int(rng.integers(0, KINDS))))
        tag = {"rescale": rescales[rng.choice(3, p=(0.6, 0.3, 0.1))](), "prob_sum": prob_sum}
        rows.add(tier, visit, weight, digits, tag | {"info": fields(rng, layouts.row_info(config))})
    await rows.check(dut, stalls)


@cocotb.test()
async def most(dut: Any) -> None:
    """As many keys as there may be, all with the largest weight and the least code: no overflow."""
    config, _ = job.read()
    rows = Rows(config)
    weight = np.full(config.lanes, config.prob_max)
    digits = np.full((config.digits, config.lanes, config.head_dim), DIGIT_MIN, np.int8)
    tag = {"rescale": 0, "prob_sum": config.prob_max * config.lanes, "info": {}}
    groups = config.max_tokens // config.lanes
    for n in range(groups):
        visit = {"row": 0, "start": True, "end": True, "first": n == 0, "final": n == groups - 1}
        rows.add(Tier.FULL, visit, weight, digits, tag)
    await rows.check(dut, 0.0)
