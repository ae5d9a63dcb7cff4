"""Where numbers change: the arithmetic components, simulated over configurations that shape them differently."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from golden.config import ADDERS, TABLE_STYLES
from golden.presets import preset
from sim.simulate import simulate

LEAST_WORDS = {
    "align": 500,
    "key_multiplier": 2000,
    "value_multiplier": 1000,
    "score": 1000,
    "softmax": 500,
    "accumulate": 200,
    "normalise": 1000,
}
"""Words that a bench compares at least, whatever the configuration."""

NARROW = {
    "query_bits": 9,
    "prob_bits": 9,
    "scale_bits": 2,
    "score_integer_bits": 8,
    "score_fraction_bits": 8,
    "digits": 2,
}
WIDE = {"query_bits": 18, "prob_bits": 18, "scale_bits": 8, "score_integer_bits": 12, "score_fraction_bits": 12}
VARIATIONS: dict[str, dict[str, Any]] = {
    "tiny": {},
    **{f"{style}-{adder}": {"table": style, "adder": adder} for style in TABLE_STYLES for adder in ADDERS},
    "narrow": NARROW,
    "wide": WIDE,
    "bf16": {"float_format": "bf16"},
    "bf16-narrow": {"float_format": "bf16", **NARROW},
    "two-digits": {"digits": 2},
    "multipliers": {"full_engine": "multipliers"},
    "multipliers-wide": {"full_engine": "multipliers", "key_digit_step": 4, "value_digit_step": 2, **WIDE},
    "multipliers-two-digits": {"full_engine": "multipliers", "adder": "carry", "tree_fanin": 2, "digits": 2},
    "head-48": {"head_dim": 48},
    "fanin-2": {"tree_fanin": 2, "table": "odd", "adder": "carry"},
    # An odd fan-in joins whole pairs only: the tree is deeper than that of single operands.
    "pairs-fanin-3": {"head_dim": 64, "tree_fanin": 3},
    "lanes-8": {"lanes": 8, "tree_fanin": 2},
    "one-chunk": {"lanes": 8, "tile": 8},
}
MULTIPLIERS = ("multipliers", "multipliers-wide", "multipliers-two-digits")
CASES = {
    "align": ("bf16-narrow", "wide"),
    "key_multiplier": (
        *(f"{style}-save" for style in TABLE_STYLES),
        "wide",
        "bf16-narrow",
        "head-48",
        "fanin-2",
        "pairs-fanin-3",
        *MULTIPLIERS,
    ),
    "value_multiplier": (*(f"{style}-carry" for style in TABLE_STYLES), "wide", "narrow", "lanes-8", *MULTIPLIERS),
    "score": ("tiny", "bf16", "narrow", "wide", *MULTIPLIERS),
    "softmax": ("tiny", "narrow", "wide", "lanes-8"),
    "accumulate": ("two-digits", "wide", "lanes-8", *MULTIPLIERS),
    "normalise": ("narrow", "wide", "head-48", "one-chunk"),
}


@pytest.mark.parametrize(
    ("component", "variation"),
    [
        pytest.param(component, variation, id=f"{component}-{variation}")
        for component, variations in CASES.items()
        for variation in variations
    ],
)
def test_component_matches_the_golden_model(component: str, variation: str) -> None:
    figures = simulate(component, dataclasses.replace(preset("tiny"), **VARIATIONS[variation]), seed=2)
    assert figures["words_compared"] >= LEAST_WORDS[component]
    assert figures["mismatches"] == 0
