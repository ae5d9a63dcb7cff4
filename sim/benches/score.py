"""Bench of the scores: sums over the passes and their scaling, compared with golden.score."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from golden.config import Config, Tier
from golden.digits import seen
from golden.formats import FORMATS
from golden.multiplier import multiply, multiply_rows
from golden.score import score
from rtl import layouts
from rtl.score import Score
from sim import job
from sim.benches.stimuli import KINDS, digit_numbers, fields, numbers
from sim.pack import pack
from sim.streams import STALLS, assert_full_rate, assert_latency, check_streams

GROUPS = 600


def exponents(config: Config, rng: np.random.Generator, near: bool) -> tuple[int, np.ndarray]:
    """Exponents of a query row and of the keys in the lanes: any, or such that shifts reach both ends of a score."""
    form, bits = FORMATS[config.float_format], config.key_exponent_bits
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if not near:
        return int(rng.integers(1, form.exponent_max + 1)), rng.integers(least, most + 1, config.lanes)
    exponent = int(rng.integers(max(1, form.bias - 60), min(form.exponent_max, form.bias + 60)))
    left = rng.integers(-(config.key_sum_bits + config.scale_bits + 3), config.score_bits + 3, config.lanes)
    point = exponent - form.bias - (config.query_bits - 2) + config.score_fraction_bits
    return exponent, np.clip(left - point, least, most)


@cocotb.test()
@cocotb.parametrize(stalls=STALLS)
async def scores(dut: Any, stalls: float) -> None:
    """Scores of all tiers and magnitudes, saturated ones too; one pass per cycle."""
    config, _ = job.read()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    words, expected, last_passes = [], [], []
    for n in range(GROUPS):
        mantissa = numbers(rng, -config.query_max, config.query_max, (config.head_dim,), n % KINDS)
        digits = digit_numbers(rng, (config.digits, config.lanes, config.head_dim), n // KINDS % KINDS)
        tier = Tier(rng.choice(list(Tier)))
        exponent, key_exponent = exponents(config, rng, near=n % 4 > 0)
        scales = fields(rng, layouts.scored(config)["scales"].shape)
        for scale, own in zip(scales, key_exponent.tolist(), strict=True):
            scale["key_exponent"] = own
        key_mantissa = np.array([scale["key_mantissa"] for scale in scales])
        info, beside = fields(rng, layouts.row_info(config)), fields(rng, layouts.key_tag(config))
        codes = seen(config, digits, config.key_digit_step)[tier]
        whole = config.passes(tier) < config.digits_read(tier)
        for index in range(config.passes(tier)):
            last = index == config.passes(tier) - 1
            dot = multiply_rows(mantissa[None], codes)[0] if whole else multiply(mantissa, digits[index])
            product = {
                "dot": dot.tolist(),
                "operand_tag": {"exponent": exponent, "info": info},
                "tag": beside | {"digit": index, "whole": whole, "last_digit": last, "scales": scales},
            }
            words.append(pack(layouts.key_product(config), product))
        last_passes.append(len(words) - 1)
        key_sum = multiply_rows(mantissa[None], codes)
        row = score(config, key_sum, np.array([exponent]), key_mantissa, key_exponent)[0].tolist()
        scored = {"score": row, "active": beside["active"], "scales": scales, "visit": beside["visit"], "info": info}
        expected.append(pack(layouts.scored(config), scored))
    cycles = await check_streams(dut, {"i": words}, {"o": (layouts.scored(config), expected)}, stalls)
    if not stalls:
        assert_latency([cycles["i"][n] for n in last_passes], cycles["o"], Score.latency)
        assert_full_rate(cycles["i"])
