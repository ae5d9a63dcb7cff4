"""The control plan: well formed, evaluated by hand, and its page up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from golden.config import unsigned_bits
from golden.control import COUNTS, EVENTS, LOOPS, SPECULATION, STAGES, Stage, end, evaluate
from golden.latencies import latencies
from golden.presets import PRESETS
from rtl import layouts
from scripts.control import text

ROOT = Path(__file__).parents[2]


def test_formulas_are_sums_of_products() -> None:
    counts = {"rows": 3, "key tiles": 5, "lag": 0}
    assert evaluate("rows * key tiles + lag - 2", counts) == 13
    assert evaluate("1 + rows - key tiles", counts) == -1
    with pytest.raises(KeyError, match="width"):
        evaluate("rows * width", counts)


def test_a_stage_waits_for_the_latest_ends_that_there_were() -> None:
    stage = Stage("later", "head", {"one": 1, "other": 2, "later": 1}, "rows + 1")
    assert end(stage, {"one": [4], "other": [9], "later": []}, {"rows": 10}) == 4 + 11
    assert end(stage, {"one": [4], "other": [6, 9], "later": []}, {"rows": 10}) == 6 + 11
    assert end(stage, {"one": [4, 5], "other": [2, 9], "later": [8, 7]}, {"rows": 10}) == 7 + 11
    assert end(stage, {"one": [], "other": [], "later": []}, {"rows": 10}) == 11


def test_stages_wait_for_stages_and_steps_follow_each_other() -> None:
    names = [stage.name for stage in STAGES]
    assert len(set(names)) == len(names)
    assert all(set(stage.after) <= set(names) for stage in STAGES)
    steps = [step.name for step in SPECULATION]
    used = {name for each in (*SPECULATION, *STAGES) for name in re.split(" [-+*] ", each.cycles)} - set(steps)
    assert {name for name in used if not name.isdigit()} - set(latencies(PRESETS["tiny"])) <= set(COUNTS)
    assert set(COUNTS) <= used
    spent = " + ".join(stage.cycles for stage in STAGES if stage.name in ("look", "speculate"))
    assert spent.split(" + ") == steps


@pytest.mark.parametrize("name", PRESETS)
def test_beats_have_room_for_indices_and_events(name: str) -> None:
    config = PRESETS[name]
    fields = {field: where.width for layout in (layouts.beat(config), layouts.visit(config)) for field, where in layout}
    most = {loop.name: getattr(config, loop.most) for loop in LOOPS if loop.most}
    assert all(unsigned_bits(most[loop] - 1) == fields[loop] for loop in ("row", "digit"))
    assert all(fields[event.name] == 1 for event in EVENTS)


def test_the_page_is_that_of_the_plan() -> None:
    assert (ROOT / "docs" / "control.md").read_text() == text()
