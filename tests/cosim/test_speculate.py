"""Speculation: pools and estimates, simulated over configurations that shape them differently."""

from __future__ import annotations

import dataclasses

import pytest

from golden.config import Config
from golden.presets import preset
from sim.simulate import simulate

TINY = preset("tiny")
CONFIGS: dict[str, Config] = {
    "tiny": TINY,
    "bf16": dataclasses.replace(TINY, float_format="bf16"),
    "head-48": dataclasses.replace(TINY, head_dim=48, tree_fanin=4, adder="carry"),
    "narrow": dataclasses.replace(
        TINY, query_bits=8, input_bits=12, pool_bits=6, estimate_fraction_bits=3, rotate=False
    ),
    "wide": dataclasses.replace(TINY, query_bits=18, input_bits=20, pool_bits=14, estimate_fraction_bits=8),
    # Sums that are shorter than what they are rounded to.
    "short": dataclasses.replace(TINY, query_bits=8, pool_bits=14, tile=4, lanes=2, banks=2, query_rows=2),
    # A cell is a query tile: one pooled query, and places for no more of them in all pieces.
    "one-cell": dataclasses.replace(TINY, query_rows=4, cell=4),
    "single-rows": dataclasses.replace(TINY, cell=1, query_rows=12, max_tokens=300),  # no powers of two
}
LEAST_WORDS = {"pool": 600, "key_pool": 480, "estimate": 1500}
CASES = [("pool", name) for name in CONFIGS]
CASES += [("key_pool", name) for name in ("tiny", "wide", "short")]
CASES += [("estimate", name) for name in CONFIGS]


@pytest.mark.parametrize(("component", "name"), CASES)
def test_component_matches_the_golden_model(component: str, name: str) -> None:
    figures = simulate(component, CONFIGS[name], seed=5)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] >= LEAST_WORDS[component]
