"""Reuse of rows and compaction of query tiles, simulated over configurations that shape it differently."""

from __future__ import annotations

import dataclasses

import pytest

from golden.config import Config
from golden.presets import preset
from sim.simulate import simulate

TINY = preset("tiny")
CONFIGS: dict[str, Config] = {
    "off": TINY,  # nothing is reused
    "tiny": dataclasses.replace(TINY, reuse_distance=0.3),
    "bf16-48": dataclasses.replace(TINY, reuse_distance=0.5, float_format="bf16", match_bits=8, head_dim=48),
    "small": dataclasses.replace(TINY, reuse_distance=0.3, query_rows=4, cell=1, max_tokens=160, max_frames=9),
}
TILES: dict[str, Config] = {
    "tiny": TINY,
    "alone": dataclasses.replace(TINY, group_window=1),
    "many": dataclasses.replace(TINY, group_window=5, query_rows=16, cell=4),
    "smallest": dataclasses.replace(TINY, lanes=2, query_rows=2, cell=1, group_window=3, float_format="bf16"),
}
SEED = 5


@pytest.mark.parametrize("name", CONFIGS)
def test_reuse(name: str) -> None:
    figures = simulate("reuse", CONFIGS[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] >= 7000


@pytest.mark.parametrize("name", TILES)
def test_compact(name: str) -> None:
    figures = simulate("compact", TILES[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] >= 3000
