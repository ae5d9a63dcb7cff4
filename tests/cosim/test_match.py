"""Matching, simulated over configurations that shape it differently."""

from __future__ import annotations

import dataclasses

import pytest

from golden.config import Config
from golden.presets import preset
from sim.simulate import simulate

TINY = preset("tiny")
CONFIGS: dict[str, Config] = {
    "off": TINY,  # nothing is near
    "tiny": dataclasses.replace(TINY, reuse_distance=0.1),
    "bf16": dataclasses.replace(TINY, reuse_distance=0.3, float_format="bf16", match_bits=6),
    "narrow": dataclasses.replace(TINY, reuse_distance=0.5, match_bits=6, head_dim=32),
    "wide-48": dataclasses.replace(TINY, reuse_distance=0.05, match_bits=16, head_dim=48, tree_fanin=8),
    "far": dataclasses.replace(TINY, reuse_distance=2, tree_fanin=2),
}
SEED = 5


@pytest.mark.parametrize("name", CONFIGS)
def test_match(name: str) -> None:
    figures = simulate("match", CONFIGS[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] >= 800
