"""The core in Verilator against the golden model, whole heads: every tier, mask, format, shape and stall."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from golden.config import Tier
from golden.presets import preset
from golden.traces import Head, load
from sim.simulate import BenchFailed, simulate
from sim.workload import random_head, small_workload, workload

TINY = preset("tiny")
SAMPLE = Path(__file__).parents[2] / "sample" / "street.npz"
FILL_CYCLES = 128
"""Cycles that the tiny core needs besides its passes: loading the first tiles, draining the pipeline, the last row."""

VARIANTS = {
    "tiny": {},
    "pairs_bf16": {"table": "pairs", "float_format": "bf16"},
    "full_table": {"table": "full"},
    "multipliers": {"full_engine": "multipliers"},
    "multipliers_bf16": {"full_engine": "multipliers", "float_format": "bf16", "adder": "carry", "tree_fanin": 4},
    "multipliers_two_digits": {"full_engine": "multipliers", "digits": 2},
    "two_digits_wide": {"digits": 2, "query_bits": 18, "prob_bits": 18},
    "odd_head_dim": {"head_dim": 48},
    "more_banks_than_lanes": {"banks": 5, "request_depth": 1},
}


@pytest.fixture(params=[0, 1])
def head(request: pytest.FixtureRequest) -> Head:
    """A real head, cut to what the tiny core holds."""
    return load(SAMPLE)[request.param].cut((2, 12, 12), TINY.head_dim)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stalls", [0.0, 0.2])
def test_random_heads_with_text_masks_and_a_tier_for_every_key(variant: str, stalls: float) -> None:
    config = dataclasses.replace(TINY, **VARIANTS[variant])
    work = small_workload(config, seed=3)
    figures = simulate("core", config, inputs={"workload": work, "stalls": stalls}, seed=5)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] == work.expected.size > 300


def test_a_real_head_with_speculated_tiers_keeps_the_lanes_busy(head: Head) -> None:
    work = workload(TINY, head)
    assert all(share > 0.02 for share in work.schedule.tier_shares().values())
    figures = simulate("core", TINY, inputs={"workload": work})
    assert figures["words_compared"] == work.expected.size
    passes = work.schedule.passes(TINY)
    assert passes < figures["cycles"] < 1.01 * passes + FILL_CYCLES


@pytest.mark.parametrize("tier", Tier)
def test_full_rate_at_every_tier(tier: Tier) -> None:
    work = workload(TINY, random_head(TINY, (2, 8, 8)), tier)
    figures = simulate("core", TINY, inputs={"workload": work})
    assert figures["cycles"] < work.schedule.passes(TINY) + FILL_CYCLES


EXTREMES = {
    "equal_scores": lambda head: dataclasses.replace(head, q=head.q * 0),
    "saturated_scores": lambda head: dataclasses.replace(head, q=head.q * 3000, k=head.k * 3000),
    "subnormal_queries": lambda head: dataclasses.replace(head, q=head.q * np.float32(2.0**-17)),
    "huge_values": lambda head: dataclasses.replace(head, v=head.v * np.float32(4000)),
    "tiny_values": lambda head: dataclasses.replace(head, v=head.v * np.float32(2.0**-22)),
    "equal_values": lambda head: dataclasses.replace(head, v=head.v * 0 + 1),
    "a_single_token": lambda head: head.cut((1, 1, 1)),
    "a_partial_tile": lambda head: head.cut((1, 3, 7)),
}


@pytest.mark.parametrize("case", EXTREMES)
def test_extreme_heads(case: str) -> None:
    work = workload(TINY, EXTREMES[case](random_head(TINY, (2, 4, 7), seed=1)))
    assert simulate("core", TINY, inputs={"workload": work, "stalls": 0.1})["words_compared"] == work.expected.size


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_query_that_is_not_finite_gives_nan_and_disturbs_nobody(value: float) -> None:
    head = random_head(TINY, (2, 4, 7), seed=2)
    head.q[9, 4] = value
    work = workload(TINY, head)
    assert np.isnan(work.expected.view(np.float16)).all(axis=1).sum() == 1
    assert simulate("core", TINY, inputs={"workload": work})["mismatches"] == 0


@pytest.mark.parametrize("kept", [0, 1])
def test_rows_that_meet_no_key_or_a_single_one(kept: int) -> None:
    mask = np.arange(56) >= kept
    work = workload(TINY, random_head(TINY, (2, 4, 7)), Tier.LUT8, mask)
    assert work.expected.any() == bool(kept)
    assert simulate("core", TINY, inputs={"workload": work})["mismatches"] == 0


def test_a_single_wrong_bit_is_found() -> None:
    work = small_workload(TINY, seed=4)
    work.expected[17, 5] ^= 1
    with pytest.raises(BenchFailed, match=r"output: cycle \d+, word 17: 1 fields differ: \[5\] = \d+, expected \d+"):
        simulate("core", TINY, inputs={"workload": work})


def test_a_waveform_opens() -> None:
    figures = simulate("sequencer", TINY, waves=True)
    path = Path(figures["waves"])
    text = path.read_text()
    assert "$enddefinitions $end" in text
    assert "o__valid" in text
    assert text.count("\n#") > 100
