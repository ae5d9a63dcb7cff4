"""The quality goals, on the real heads in the repository."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from golden.config import Config, Tier
from golden.oracle import attend, attend_dropping, numerics_error, probabilities, relative_l2
from golden.prepare import prepare, restore
from golden.presets import DEFAULT_PRESET, PRESETS
from golden.speculate import speculate
from golden.traces import Head, load

RunCore = Callable[..., NDArray[np.uint16]]

FITTING = [name for name, config in PRESETS.items() if config.head_dim >= 64]


@pytest.fixture(params=[0, 1])
def head(request: pytest.FixtureRequest, sample_path: Path) -> Head:
    return load(sample_path)[request.param]


def test_the_sample_is_small_and_complete(sample_path: Path) -> None:
    heads = load(sample_path)
    assert len(heads) == 2
    assert all(head.q.shape == (1024, 64) and head.grid == (4, 16, 16) for head in heads)
    assert sample_path.stat().st_size < 2_000_000


def test_the_heads_are_unlike(sample_path: Path) -> None:
    concentrated, diffuse = (
        np.sort(probabilities(head.q.astype(float), head.k.astype(float)), axis=1)[:, -51:].sum(axis=1).mean()
        for head in load(sample_path)
    )
    assert concentrated > 0.95
    assert diffuse < 0.5


@pytest.mark.parametrize("name", FITTING)
def test_all_lut8_is_as_good_as_fp16(name: str, head: Head, run_core: RunCore) -> None:
    config = PRESETS[name]
    prepared = prepare(config, head)
    output = run_core(config, prepared, Tier.LUT8)
    assert relative_l2(restore(prepared, output), attend(head)) <= 0.005
    assert numerics_error(config, prepared, output, Tier.LUT8) <= 0.001


@pytest.mark.parametrize("name", FITTING)
def test_default_tiers_meet_the_goal_and_beat_dropping(name: str, head: Head, run_core: RunCore) -> None:
    config = PRESETS[name]
    prepared = prepare(config, head)
    tiers = speculate(config, prepared).tiers
    reference = attend(head)
    error = relative_l2(restore(prepared, run_core(config, prepared, tiers)), reference)
    assert error <= 0.035
    assert error < relative_l2(attend_dropping(head, prepared, tiers), reference) / 5
    assert np.mean(tiers > Tier.LUT4) <= 0.25


def test_rotation_and_a_better_tier_help(head: Head, run_core: RunCore) -> None:
    config = PRESETS[DEFAULT_PRESET]
    reference, errors = attend(head), {}
    for rotate in (True, False):
        chosen: Config = dataclasses.replace(config, rotate=rotate)
        prepared = prepare(chosen, head)
        for tier in (Tier.LUT4, Tier.LUT8):
            errors[rotate, tier] = relative_l2(restore(prepared, run_core(chosen, prepared, tier)), reference)
    assert errors[True, Tier.LUT4] < errors[False, Tier.LUT4]
    assert errors[True, Tier.LUT8] < errors[True, Tier.LUT4] / 8


def test_the_smallest_preset_runs_on_a_cut(head: Head, run_core: RunCore) -> None:
    config = PRESETS["tiny"]
    cut = head.cut((2, 8, 8), config.head_dim)
    prepared = prepare(config, cut)
    tiers = speculate(config, prepared).tiers
    assert set(np.unique(tiers)) == set(Tier)
    assert relative_l2(restore(prepared, run_core(config, prepared, tiers)), attend(cut)) <= 0.04
