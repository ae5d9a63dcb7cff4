"""`make utilisation`: its figures of small heads, alone and one after the other."""

from __future__ import annotations

import dataclasses

import pytest

from golden.presets import preset
from scripts.cli import progress_bars
from scripts.utilisation import TITLES, runs, table
from sim.workload import moving_head

CONFIG = dataclasses.replace(preset("tiny"), reuse_distance=0.3)


def test_figures_of_a_layer() -> None:
    heads = [moving_head(CONFIG, (4, 8, 8), 0, 0.4, seed=seed) for seed in (1, 2)]
    with progress_bars() as progress:
        first, second, both = runs(CONFIG, heads, progress)
    for run in (first, second, both):
        assert run["mismatches"] == 0
        assert run["words_compared"] > 500
        assert 0.2 < run["rows_reused"] < 0.7
        # Frames fill key tiles, so that no lane idles in a pass; counters are read some cycles after the last row.
        assert run["lane_utilisation"] + sum(run["lost"].values()) == pytest.approx(1, abs=2e-3)
        assert run["predicted"] == pytest.approx(run["cycles"], rel=0.01)
        assert run["ungrouped"]["cycles"] > run["predicted"]
        assert run["ungrouped"]["lane_utilisation"] < run["lane_utilisation"]
    assert both["tokens"] == first["tokens"] + second["tokens"] == 512
    assert both["heads"] == f"{first['heads']} {second['heads']}"
    assert both["cycles"] < first["cycles"] + second["cycles"]  # the second one is prepared meanwhile
    shown = table({part: [first, both] for part in TITLES})
    assert len(shown.columns) == 1 + 2 * 2
