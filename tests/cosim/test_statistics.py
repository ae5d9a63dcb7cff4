"""Statistics of heads, simulated over configurations that shape them differently."""

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
    "narrow": dataclasses.replace(TINY, input_bits=12),
    "wide-48": dataclasses.replace(TINY, input_bits=20, head_dim=48, tree_fanin=8),
    # So few rows that a head can have them all, and reach its largest total.
    "few-rows": dataclasses.replace(TINY, max_tokens=16, input_bits=12, float_format="bf16", tree_fanin=2),
}
SEED = 5


@pytest.mark.parametrize("name", CONFIGS)
def test_statistics(name: str) -> None:
    figures = simulate("statistics", CONFIGS[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] >= 180
