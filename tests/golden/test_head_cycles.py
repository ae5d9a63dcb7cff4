from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from golden.config import Config
from golden.head_cycles import head_cycles
from golden.layer import plan
from golden.presets import preset
from golden.traces import Head

MakeHead = Callable[..., Head]


def test_a_single_token_by_hand(tiny: Config, make_head: MakeHead) -> None:
    # The key and the value pass, in two cycles as they are the first ones, and 27 later their means are known; after 17
    # the scale of the value, and the key is prepared and pooled meanwhile. After 2 a core is given the query in 2, and
    # 6 later it meets the key: 2 cycles, and 16 to the frame's rank; again 2, and 16 to the piece's. Six cycles make it
    # a lane group, whose only pass takes 29 to the output. Two are a queue, 8 the row is taken, and 16 until it is
    # restored.
    found = head_cycles(tiny, plan(tiny, [make_head((1, 1, 1))]))
    assert found.total == 2 + 27 + 17 + 2 + 2 + 6 + 2 + 16 + 2 + 16 + 6 + 1 + 29 + 2 + 8 + 16
    assert (found.attend, found.drain) == (1, 29 + 2 + 8 + 16)


def test_the_total_is_the_sum_of_its_parts_and_no_less_than_all_passes(tiny: Config, make_head: MakeHead) -> None:
    plans = plan(tiny, [make_head((3, 5, 7), 11), make_head((2, 4, 4), 0, seed=1)])
    for some in (plans, plans[:1], plans[1:]):
        got = head_cycles(tiny, some)
        assert got.total == got.prepare + got.speculate + got.attend + got.drain
        assert got.attend >= sum(made.grouping.schedule.passes(tiny) for made in some)
        assert min(dataclasses.astuple(got)) > 0


def test_a_second_head_costs_less_than_a_first_one(tiny: Config, make_head: MakeHead) -> None:
    plans = plan(tiny, [make_head((4, 8, 8), 0, seed=n) for n in range(2)])
    alone = [head_cycles(tiny, [made]).total for made in plans]
    both = head_cycles(tiny, plans)
    assert both.total < sum(alone) - both.prepare / 2


def test_frames_that_are_skipped_save_cycles_of_speculation(tiny: Config, make_head: MakeHead) -> None:
    head = make_head((12, 4, 4), scale=3.0)
    few, all_of_them = (dataclasses.replace(tiny, frame_mass=mass) for mass in (0.3, 1.0))
    fewer, more = (head_cycles(config, plan(config, [head])) for config in (few, all_of_them))
    assert fewer.speculate < more.speculate


@pytest.mark.parametrize("name", ["asic", "amd"])
def test_lanes_are_busy_in_a_long_head(make_head: MakeHead, name: str) -> None:
    config = preset(name)
    made = plan(config, [make_head((4, 16, 16), head_dim=64)])
    got = head_cycles(config, made)
    assert got.attend / got.total > 0.9
    assert head_cycles(config, plan(config, [make_head((16, 16, 16), head_dim=64)])).attend / got.attend > 15
