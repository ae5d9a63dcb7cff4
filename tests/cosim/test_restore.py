"""Where rows are rotated and become floating-point numbers again, simulated over configurations of all widths."""

from __future__ import annotations

import dataclasses

import pytest

from golden.config import Config
from golden.presets import preset
from sim.simulate import simulate

TINY = preset("tiny")
CONFIGS: dict[str, Config] = {
    "tiny": TINY,
    "bf16": dataclasses.replace(TINY, float_format="bf16", head_dim=32, lanes=2),  # rows cut to 16 slices
    "head_48": dataclasses.replace(TINY, head_dim=48),  # three blocks of 16 channels
    "whole_rows": dataclasses.replace(TINY, lanes=16, query_rows=16),  # rows that are not cut
    "narrow": dataclasses.replace(TINY, input_bits=12),
    "narrow_bf16": dataclasses.replace(TINY, input_bits=12, rotate=False, float_format="bf16"),
    "wide": dataclasses.replace(TINY, input_bits=20, head_dim=32),
}
LEAST_WORDS = {"encode": 1000, "prepare_query": 640, "restore": 1500}
SEED = 5


@pytest.mark.parametrize("component", LEAST_WORDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_are_those_of_the_golden_model(component: str, name: str) -> None:
    figures = simulate(component, CONFIGS[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] >= LEAST_WORDS[component]
