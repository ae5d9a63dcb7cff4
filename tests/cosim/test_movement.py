"""Where data only moves: buffers, sequencer and arbiter, simulated over configurations that shape them differently."""

from __future__ import annotations

import dataclasses

import pytest

from golden.config import Config
from golden.presets import preset
from sim.simulate import simulate

TINY = preset("tiny")
CONFIGS: dict[str, Config] = {
    "tiny": TINY,
    "banks3": dataclasses.replace(TINY, banks=3),
    "banks8": dataclasses.replace(TINY, banks=8),
    "lanes8": dataclasses.replace(TINY, lanes=8, query_rows=8, banks=8),
    "depth1": dataclasses.replace(TINY, request_depth=1),
    "depth2": dataclasses.replace(TINY, request_depth=2),
    "bf16": dataclasses.replace(TINY, float_format="bf16"),
    "digits2": dataclasses.replace(TINY, digits=2),
    "multipliers": dataclasses.replace(TINY, full_engine="multipliers"),
    "multipliers2": dataclasses.replace(TINY, full_engine="multipliers", digits=2, banks=3),
    "ecp5": preset("ecp5"),
}
SEED = 7


@pytest.mark.parametrize("name", ["tiny", "bf16", "lanes8", "ecp5"])
def test_query_buffer(name: str) -> None:
    figures = simulate("query_buffer", CONFIGS[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] > 500


@pytest.mark.parametrize("name", ["tiny", "lanes8", "digits2", "ecp5"])
def test_loops(name: str) -> None:
    figures = simulate("loops", CONFIGS[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] > 2000


@pytest.mark.parametrize("name", ["tiny", "lanes8", "digits2", "multipliers", "multipliers2", "ecp5"])
def test_sequencer(name: str) -> None:
    figures = simulate("sequencer", CONFIGS[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] > 900


@pytest.mark.parametrize("name", ["tiny", "banks3", "banks8", "lanes8", "depth1", "depth2", "multipliers", "ecp5"])
def test_arbiter(name: str) -> None:
    config = CONFIGS[name]
    figures = simulate("arbiter", config, seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] > 2000 * config.lanes
    rates = {pattern: figures[f"words_per_lane_cycle_{pattern}"] for pattern in ("structured", "random", "one_bank")}
    if config.request_depth >= 2:
        assert figures["words_per_lane_cycle_broadcast"] == 1.0
        assert (rates["structured"] == 1.0) == (config.lanes <= config.banks)
        assert rates["one_bank"] == pytest.approx(1 / config.lanes, rel=0.05)
    assert 1 / config.lanes < rates["random"] < 1


@pytest.mark.parametrize(
    "name", ["tiny", "banks3", "banks8", "lanes8", "depth1", "depth2", "multipliers", "multipliers2"]
)
def test_key_buffer(name: str) -> None:
    figures = simulate("key_buffer", CONFIGS[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] > 1000


@pytest.mark.parametrize("name", ["tiny", "banks3", "digits2", "multipliers", "multipliers2"])
def test_value_buffer(name: str) -> None:
    figures = simulate("value_buffer", CONFIGS[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] > 1000
