"""The report on the tier FULL: what must follow from how each variant computes it."""

from __future__ import annotations

from typing import Any

import pytest

from golden.presets import preset
from scripts.bench_full import bench_full
from sim.workload import random_head

pytest.importorskip("pyosys")

TINY = preset("tiny")


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    """The rows of two small heads, by variant."""
    heads = [random_head(TINY, (2, 6, 7), seed=seed, scale=2.0) for seed in range(2)]
    return {row["variant"]: row for row in bench_full("tiny", TINY, heads)}


def test_multipliers_save_cycles_and_nothing_else_changes(rows: dict[str, dict[str, Any]]) -> None:
    tables, multipliers, lut8, all_top, alone = rows.values()
    assert tables["rel_l2"] == multipliers["rel_l2"]
    assert alone["rel_l2"] < all_top["rel_l2"] <= multipliers["rel_l2"] < lut8["rel_l2"]
    assert alone["cycles"] <= all_top["cycles"] < multipliers["cycles"] < tables["cycles"]
    assert lut8["cycles"] < tables["cycles"]
    assert multipliers["complete_cycles"] < tables["complete_cycles"]


def test_multipliers_take_dsps_and_luts_besides(rows: dict[str, dict[str, Any]]) -> None:
    tables, multipliers, lut8, all_top, alone = rows.values()
    # The counters multiply by the passes of a tier: by three in FULL with tables, which may take a DSP as well.
    assert multipliers["dsps"] - tables["dsps"] == pytest.approx(2 * TINY.lanes * TINY.head_dim, abs=2)
    assert lut8["luts"] < tables["luts"] < multipliers["luts"] == all_top["luts"] > alone["luts"]
    assert tables["luts_x_cycles"] == 1.0
    assert multipliers["luts_x_cycles"] == pytest.approx(
        multipliers["luts"] * multipliers["cycles"] / (tables["luts"] * tables["cycles"])
    )
