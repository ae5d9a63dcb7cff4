"""`make evaluate`: its figures against counts by hand, and the whole command on the sample."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.config import Tier
from golden.layer import Plan, plan
from golden.oracle import attend, attend_dropping, relative_l2
from golden.presets import preset
from golden.traces import Head
from scripts.evaluate import CORES, series, total
from scripts.evaluation import (
    DROPPED,
    OURS,
    Job,
    Point,
    ablations,
    curves,
    figures,
    measure,
    passes,
    pooled,
    top_share,
    without_grouping,
)
from sim.workload import random_head

ROOT = Path(__file__).parents[2]
TINY = preset("tiny")


@pytest.fixture
def heads() -> list[Head]:
    return [random_head(TINY, (3, 8, 8), seed=seed, scale=scale) for seed, scale in enumerate((0.5, 2.0))]


@pytest.fixture
def plans(heads: list[Head]) -> list[Plan]:
    return plan(TINY, heads)


def test_work_is_counted_in_passes_by_hand(plans: list[Plan]) -> None:
    for made in plans:
        shares = made.grouping.schedule.tier_shares()
        wanted = shares["LUT4"] + 2 * shares["LUT8"] + TINY.digits * shares["FULL"]
        assert passes(TINY, made) == pytest.approx(wanted)
        assert top_share(made) == pytest.approx(shares["LUT8"] + shares["FULL"])


def test_reused_rows_are_work_saved(heads: list[Head]) -> None:
    still = dataclasses.replace(heads[0], q=np.tile(heads[0].q[:64], (3, 1)))
    config = dataclasses.replace(TINY, reuse_distance=0.1)
    (made,) = plan(config, [still])
    assert made.products_removed == pytest.approx(2 / 3)
    shares = made.grouping.schedule.tier_shares()
    wanted = (shares["LUT4"] + 2 * shares["LUT8"] + 3 * shares["FULL"]) / 3
    assert passes(config, made) == pytest.approx(wanted)


def test_measured_jobs_are_what_they_say(plans: list[Plan]) -> None:
    made, reference = plans[1], attend(plans[1].head)
    point = measure(Job("curves", DROPPED, made, TINY, drop=True), reference)
    output = attend_dropping(made.head, made.prepared, made.rows, made.tiers)
    assert point.rel_l2 == relative_l2(output, reference)
    assert point.work == pytest.approx(2 * top_share(made))
    peer = measure(Job("curves", "int8", made, TINY, wanted=2.0), reference)
    assert (peer.wanted, peer.work) == (2.0, 2.0)
    assert peer.rel_l2 < measure(Job("curves", OURS, made, TINY), reference).rel_l2


def test_pooled_takes_an_equal_share_of_every_query_tile(plans: list[Plan]) -> None:
    for made, tiers in zip(plans, pooled(plans, 0.25), strict=True):
        sizes = np.diff(made.prepared.key_tiles.piece_start)
        assert ((tiers > Tier.LUT4) @ sizes == sizes.sum() // 4).all()
        best = made.estimate.tile_score.argmax(axis=1)
        first = [row[made.prepared.key_tiles.piece_tile == tile] for row, tile in zip(tiers, best, strict=True)]
        assert (np.array(first) == Tier.LUT8).all()


def test_every_ablation_changes_something(heads: list[Head]) -> None:
    config = dataclasses.replace(TINY, reuse_distance=1.3, cores=3)
    found = list(ablations(config, heads))
    base = found[0]
    for name, changed, made, groupings in found[1:]:
        other = changed != config
        other |= any(not np.array_equal(a.tiers, b.tiers) for a, b in zip(made, base[2], strict=True))
        other |= any(a.balance != b.balance for a, b in zip(groupings, base[3], strict=True))
        assert other, name
    assert len({name for name, *_ in found}) == len(found)


def test_curves_have_every_rule_and_no_free_points(plans: list[Plan]) -> None:
    jobs = list(curves(TINY, plans))
    by_rule: dict[str, list[Job]] = {}
    for job in jobs:
        by_rule.setdefault(job.series, []).append(job)
    assert {"SIMPICKER", "oracle choice", "pooled top-k", "the rest dropped", "sparge", "svg", "cmc"} <= set(by_rule)
    assert all(0 < job.config.top_share < 1 for job in by_rule[DROPPED])
    assert all(len(each) % len(plans) == 0 for each in by_rule.values())


def test_figures_of_a_head(heads: list[Head], plans: list[Plan]) -> None:
    alone = without_grouping(TINY, heads)
    found = figures(TINY, plans[0], alone[0], 0.5)
    assert found["rel_l2"] == 0.5
    assert found["bank_collisions"] == 0
    assert found["speculation_share"] == plans[0].estimate.operations / (2 * 16 * 192**2)
    assert found["lane_utilisation_ungrouped"] <= found["lane_utilisation"] <= 1
    both = total([found, found | {"rel_l2": 0.7, "balance": 3.0}], [0.1, 0.2])
    assert both["rel_l2_mean"] == pytest.approx(0.6)
    assert (both["rel_l2_worst"], both["balance"], both["worst_layer_top_tier_share"]) == (0.7, 3.0, 0.2)


def test_series_are_means_over_heads() -> None:
    points = [Point("curves", "a", head, 0.5, work, error) for head, work, error in (("x", 1, 0.1), ("y", 2, 0.3))]
    (row,) = series([*points])
    assert row == pytest.approx({"rule": "a", "wanted": 0.5, "work": 1.5, "rel_l2_mean": 0.2, "rel_l2_worst": 0.3})


def evaluated(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.evaluate", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_sample_is_evaluated_and_meets_the_goals(tmp_path: Path) -> None:
    done = evaluated(tmp_path)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads((tmp_path / "build" / "asic" / "evaluate.json").read_text())
    assert results["traces"] == ["street.npz"]
    assert (results["config_hash"], results["cores"]) == (preset("asic").hash, CORES)
    assert [head["head"] for head in results["heads"]] == ["street.h0", "street.h1"]
    whole = results["total"]
    assert whole["rel_l2_mean"] <= 0.025  # of the two heads; over all that were captured it is 0.02
    assert whole["rel_l2_worst"] <= 0.05
    assert whole["top_tier_share"] <= 0.125
    assert whole["speculation_share"] <= 0.016
    assert whole["lane_utilisation"] >= 0.95
    assert whole["balance"] <= 1.05
    assert whole["products_removed"] == 0
    assert results["reuse"]["total"]["products_removed"] >= 0.15
    assert results["reuse"]["total"]["rel_l2_mean"] <= 0.04  # of two heads in four frames, one moves a lot
    assert {row["change"] for row in results["ablation"]} >= {"no frame level", "no token level", "no grouping"}
    assert (tmp_path / "build" / "asic" / "evaluate.png").stat().st_size > 20_000


def test_a_part_alone_on_one_head(tmp_path: Path) -> None:
    done = evaluated(tmp_path, "--part", "default", "--head", "1", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "build" / "asic" / "evaluate.json").read_text())
    assert len(results["heads"]) == 1
    assert not {"curves", "ablation", "reuse"} & set(results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--jobs", "0"), "--jobs 0: must be at least 1"),
        (("--reuse-distance", "3"), "config.reuse_distance = 3.0: must be in 0..2"),
        (("--head", "7"), "has heads 0..1"),
        (("missing.npz",), "missing.npz: no such file"),
        (("--preset", "huge"), "must be one of"),
    ],
)
def test_wrong_input_is_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = evaluated(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "build").exists()
