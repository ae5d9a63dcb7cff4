"""The components that prepare operands, simulated over configurations that shape them differently."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from golden.presets import preset
from sim.simulate import simulate

LEAST_WORDS = {"rotate": 500, "centre": 500, "quantise": 1000, "prepare": 1000}
"""Words that a bench compares at least, whatever the configuration."""

VARIATIONS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "head-64": {"head_dim": 64},  # rotation takes longer than slices
    "head-48": {"head_dim": 48},  # three blocks
    "head-32": {"head_dim": 32},  # an odd number of stages
    "slow": {"query_rows": 32, "lanes": 2, "banks": 2},  # a row in four cycles
    "unrotated": {"rotate": False},
    "bf16": {"float_format": "bf16"},
    "bf16-narrow": {"float_format": "bf16", "input_bits": 12, "scale_bits": 3},
    **{
        f"digits-{digits}-step-{step}": {"digits": digits, "key_digit_step": step}
        for digits in (2, 3)
        for step in (2, 3, 4)
    },
    "narrow": {"input_bits": 12, "scale_bits": 2},
    "wide": {"input_bits": 20, "scale_bits": 8},
}
CASES = {
    "rotate": ("tiny", "head-48", "head-32", "unrotated", "narrow", "wide"),
    "centre": ("tiny", "head-48", "head-32", "slow", "unrotated", "bf16", "bf16-narrow", "narrow", "wide"),
    "quantise": (
        *(f"digits-{digits}-step-{step}" for digits in (2, 3) for step in (2, 3, 4)),
        "head-48",
        "unrotated",
        "bf16-narrow",
        "narrow",
        "wide",
    ),
    "prepare": ("head-48", "slow", "unrotated", "bf16-narrow"),
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
    figures = simulate(component, dataclasses.replace(preset("tiny"), **VARIATIONS[variation]), seed=3)
    assert figures["words_compared"] >= LEAST_WORDS[component]
    assert figures["mismatches"] == 0
