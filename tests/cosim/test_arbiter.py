"""Throughput of the bank arbiter with sixteen lanes, and lanes and banks of any number."""

from __future__ import annotations

import dataclasses

import pytest

from golden.config import Config
from golden.presets import preset
from scripts.bench_arbiter import MEMORYLESS, QUEUES, WIDE, bench_arbiter, memoryless
from sim.simulate import simulate

TINY = preset("tiny")
THREE = dataclasses.replace(TINY, lanes=3, query_rows=3, tile=15, piece=3, cell=3)
FIVE = dataclasses.replace(TINY, lanes=5, query_rows=5, tile=15, piece=5, cell=5)
SHAPES: dict[str, Config] = {
    "1-bank": dataclasses.replace(TINY, banks=1),
    "2-queues": dataclasses.replace(TINY, request_window=2),
    "4-queues": dataclasses.replace(TINY, request_window=4),
    "2-queues-depth-1": dataclasses.replace(TINY, request_window=2, request_depth=1),
    "2-queues-depth-3": dataclasses.replace(TINY, request_window=2, request_depth=3),
    "3-lanes-5-banks": dataclasses.replace(THREE, banks=5),
    "3-lanes-5-banks-2-queues": dataclasses.replace(THREE, banks=5, request_window=2),
    "3-lanes-5-banks-4-queues": dataclasses.replace(THREE, banks=5, request_window=4),
    "5-lanes-3-banks": dataclasses.replace(FIVE, banks=3),
    "5-lanes-3-banks-2-queues": dataclasses.replace(FIVE, banks=3, request_window=2),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_matches_the_golden_model(shape: str) -> None:
    config = SHAPES[shape]
    figures = simulate("arbiter", config, seed=3)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] > 2000 * config.lanes
    if config.request_depth > 1:
        assert figures["words_per_lane_cycle_broadcast"] == 1
        structured = figures["words_per_lane_cycle_structured"]
        assert structured == pytest.approx(min(1, config.banks / config.lanes), rel=0.02)
        assert (structured == 1) == (config.lanes <= config.banks)
        assert figures["words_per_lane_cycle_one_bank"] == pytest.approx(1 / config.lanes, rel=0.02)
        assert figures["words_ahead_one_bank"] == 1


@pytest.mark.parametrize(
    ("banks", "window", "random"),
    [(16, 1, (0.57, 0.63)), (16, QUEUES, (0.70, 0.76)), (32, 1, (0.75, 0.80)), (32, QUEUES, (0.95, 1))],
)
def test_sixteen_lanes(banks: int, window: int, random: tuple[float, float]) -> None:
    config = dataclasses.replace(WIDE, banks=banks, request_window=window)
    figures = simulate("arbiter", config)
    assert figures["words_compared"] > 2000 * config.lanes
    rates = {pattern: figures[f"words_per_lane_cycle_{pattern}"] for pattern in ("structured", "broadcast", "random")}
    assert rates["structured"] == rates["broadcast"] == 1
    assert random[0] <= rates["random"] <= random[1]
    assert figures["words_ahead_one_bank"] == 1


@pytest.mark.parametrize(("banks", "expected"), [(16, 0.644), (32, 0.797)])
def test_a_crossbar_that_forgets_its_requests(banks: int, expected: float) -> None:
    config = dataclasses.replace(WIDE, banks=banks)
    assert (1 - (1 - 1 / banks) ** config.lanes) * banks / config.lanes == pytest.approx(expected, abs=0.001)
    assert memoryless(config) == pytest.approx(expected, abs=0.01)


def test_the_bench_lists_all_patterns() -> None:
    told: list[str] = []
    config = dataclasses.replace(TINY, request_window=2)
    rows = bench_arbiter(told.append, [config])
    assert told == ["4 banks, memoryless", "4 banks, window 2"]
    assert [row["pattern"] for row in rows] == [MEMORYLESS, "structured", "random", "broadcast", "one_bank"]
    assert {row["request_window"] for row in rows} == {0, 2}
    assert {tuple(row) for row in rows} == {
        ("lanes", "banks", "request_depth", "request_window", "pattern", "words_per_lane_cycle")
    }
