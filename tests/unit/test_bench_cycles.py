"""`make bench PART=cycles`: workloads fit every preset, and predictions that are off fail, in either direction."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from golden.presets import PRESETS, preset
from golden.traces import load
from scripts import bench, bench_cycles
from scripts.cli import FAILED
from scripts.demo import SAMPLE, fitting

TINY = preset("tiny")


@pytest.mark.parametrize("name", PRESETS)
def test_ten_workloads_fit_every_preset(name: str) -> None:
    config = PRESETS[name]
    made = bench_cycles.workloads(config, fitting(config, load(SAMPLE)[0]))
    assert len(made) == 10
    tokens = {workload: [len(head.q) for head in heads] for workload, heads in made.items()}
    assert max(map(sum, tokens.values())) > 6 * config.tile
    assert any(count % config.tile for (count, *_) in tokens.values())
    assert tokens["a single token"] == [1]


def rows(monkeypatch: pytest.MonkeyPatch, simulated: int, predicted: int) -> list[dict[str, Any]]:
    """Rows of workloads that all take so many cycles."""
    stubs = {
        "planned_words": lambda *_: None,
        "simulate": lambda *_, **__: {"cycles": simulated, "simulated_cycles_per_second": 1.0},
        "head_cycles": lambda *_: SimpleNamespace(total=predicted),
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(bench_cycles, name, stub)
    return bench_cycles.bench_cycles(TINY, fitting(TINY, load(SAMPLE)[0]))


@pytest.mark.parametrize(
    ("simulated", "predicted", "off"),
    [
        (10_000, 10_101, True),
        (10_000, 10_099, False),
        (10_000, 9_901, False),
        (10_000, 9_899, True),
        (200, 209, True),
        (200, 192, False),
        (200, 191, True),
    ],
)
def test_a_prediction_may_be_off_in_neither_direction(
    monkeypatch: pytest.MonkeyPatch, simulated: int, predicted: int, off: bool
) -> None:
    made = rows(monkeypatch, simulated, predicted)
    assert [row["off"] for row in made] == [off] * 10
    assert made[0]["percent"] == pytest.approx(100 * (predicted / simulated - 1))


@pytest.mark.parametrize("off", [True, False])
def test_what_is_off_fails_after_it_was_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, off: bool) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "bench_cycles", lambda *_: [{"workload": "text", "off": off}])
    done = CliRunner().invoke(bench.bench, ["--preset", "tiny", "--part", "cycles"])
    assert done.exit_code == (FAILED if off else 0)
    assert json.loads((tmp_path / "build/tiny/bench.json").read_text())["cycles"][0]["off"] is off
