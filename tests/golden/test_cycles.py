"""Predicted cycles: by hand, their parts, and what they must not do. tests/cosim compares them with the hardware."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import Config, Tier
from golden.counters import expected
from golden.cycles import Cycles, cycles, visit
from golden.group import in_columns
from golden.latencies import ALIGN, NORMALISE
from golden.presets import PRESETS, preset
from golden.schedule import LaneGroup, Schedule, in_order, schedule


def uniform(
    config: Config, rows: int, tokens: int, tier: Tier = Tier.LUT4, height: int = 0, width: int = 0
) -> Schedule:
    """All keys at one tier, in tiles of `height` rows and `width` tokens, or as large as they may be."""
    query, key = (
        np.append(np.arange(0, count, size), count)
        for count, size in ((rows, height or config.query_rows), (tokens, width or config.tile))
    )
    return schedule(config, query, key, np.full((len(query) - 1, len(key) - 1), tier, np.int8))


def test_a_single_token_by_hand(tiny: Config) -> None:
    # Aligned in cycle 2, taken in 3, sent in 4, multiplied in 6; the adder tree, score, softmax and weights take 14
    # cycles to p . v, which takes 1; two sum up, four take the row into the normaliser, and six more to the output.
    found = cycles(tiny, uniform(tiny, 1, 1))
    assert found == Cycles(2, 1, 0, 0, 4, 0, 0, 14 + 1 + 2 + 4 + NORMALISE)
    assert found.total == 34


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("tier", Tier)
def test_full_tiles_take_their_passes_and_a_constant(name: str, tier: Tier) -> None:
    config = PRESETS[name]
    once, twice = (cycles(config, uniform(config, n * config.query_rows, 2 * config.tile, tier)) for n in (1, 2))
    assert twice.total - once.total == once.busy == twice.busy // 2
    assert dataclasses.replace(twice, busy=0) == dataclasses.replace(once, busy=0)


def test_small_query_tiles_wait_for_tokens(tiny: Config) -> None:
    made = uniform(tiny, 64, 64, height=1)
    found = cycles(tiny, made)
    assert found.busy + found.waits_token + found.waits_query == 64 * 64 + 1 + 4  # the last one's passes
    assert found.waits_token > found.busy
    wide = dataclasses.replace(tiny, query_rows=64)
    assert cycles(wide, uniform(wide, 64, 64)).waits_token <= tiny.tile


def test_a_list_of_many_groups_is_waited_for(tiny: Config) -> None:
    made = uniform(tiny, 1, 2)
    block = dataclasses.replace(made.blocks[0][0], groups=made.blocks[0][0].groups * 6)
    longer = dataclasses.replace(made, blocks=[(block,)])
    found = cycles(tiny, longer)
    assert (found.waits_query, found.waits_token, found.waits_group) == (ALIGN + 1, 0, 6 - ALIGN)


def test_rows_of_a_small_last_tile_leave_as_fast_as_the_normaliser_takes_them(tiny: Config) -> None:
    chunks = tiny.head_dim // tiny.output_lanes
    made = uniform(tiny, 8, 1)
    assert cycles(tiny, made).total - cycles(tiny, uniform(tiny, 7, 1)).total == chunks + 1  # and one to load it


def test_the_first_query_tile_waits_for_its_rows(tiny: Config) -> None:
    assert cycles(tiny, uniform(tiny, 8, 1)).waits_query == ALIGN + 8 + 1  # and one that takes it


def test_banks_that_collide_cost_what_the_counters_expect(tiny: Config) -> None:
    rng = np.random.default_rng(1)
    tiers = rng.integers(0, len(Tier), (3, 64)).astype(np.int8)
    made = schedule(tiny, [0, 8, 16, 24], np.arange(0, 65, 16), tiers)
    found = cycles(tiny, made)
    assert found.waits_bank == expected(tiny, made).waits_bank
    assert found.waits_bank > 100


def test_short_groups_behind_long_ones_do_not_stop_the_softmax() -> None:
    config = preset("ecp5")  # two digits: three weights may wait

    def visited(long: int, short: int) -> float:
        tiers = [Tier.LUT8] * long + [Tier.LUT4] * short
        lanes = np.arange(config.lanes)
        return visit(config, [LaneGroup(tier, lanes, lanes >= 0) for tier in tiers]).stops

    assert [visited(11, short) for short in (0, 1, 2, 3, 6)] == [0, 0, 0, 0, 0]
    assert visited(0, 12) == 0


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Config, Schedule]:
    """Query and key tiles of any size, a tier for every key, masks, either packing."""
    config = dataclasses.replace(preset("tiny"), tile_slots=draw(st.integers(2, 4)), digits=draw(st.integers(2, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    heights = rng.integers(1, draw(st.integers(1, config.query_rows)), draw(st.integers(1, 8)), endpoint=True)
    widths = rng.integers(1, draw(st.integers(1, config.tile)), draw(st.integers(1, 8)), endpoint=True)
    query, key = (np.append(0, np.cumsum(sizes)) for sizes in (heights, widths))
    tiers = rng.integers(0, len(Tier), (len(heights), key[-1])).astype(np.int8)
    pack = draw(st.sampled_from([in_order, in_columns]))
    return config, schedule(
        config, query, key, tiers, rng.random(key[-1]) < draw(st.sampled_from([0, 0.5, 1])), pack=pack
    )


@given(schedules())
def test_never_less_than_any_part_of_the_work(case: tuple[Config, Schedule]) -> None:
    config, made = case
    found = cycles(config, made)
    assert min(dataclasses.astuple(found)) >= 0, found
    assert found.busy == made.passes(config)
    assert found.waits_bank == expected(config, made).waits_bank
    rows, tokens = int(made.query_start[-1]), int(made.key_start[-1])
    assert found.total > max(tokens * len(made.blocks), rows * config.head_dim // config.output_lanes, rows)


@given(schedules())
def test_more_work_never_takes_less(case: tuple[Config, Schedule]) -> None:
    config, made = case
    total = cycles(config, made).total
    for slots in (config.tile_slots + 1, config.tile_slots + 8):
        assert cycles(dataclasses.replace(config, tile_slots=slots), made).total <= total
    if len(made.blocks) > 1:
        fewer = Schedule(made.query_start[:-1], made.key_start, [made.blocks[n] for n in range(len(made.blocks) - 1)])
        assert cycles(config, fewer).total < total


@pytest.mark.parametrize("tier", [Tier.LUT4, Tier.LUT8])
def test_a_higher_tier_never_takes_less(tiny: Config, tier: Tier) -> None:
    for height in (1, 2, 5, 8):
        low, high = (cycles(tiny, uniform(tiny, 24, 60, each, height, 15)) for each in (tier, Tier(tier + 1)))
        assert low.total <= high.total


def test_long_heads_are_predicted_at_once() -> None:
    config = preset("asic")
    rng = np.random.default_rng(0)
    starts = np.arange(0, 4097, 64)
    made = schedule(config, starts, starts, rng.integers(0, 3, (64, 4096)).astype(np.int8), pack=in_columns)
    found = cycles(config, made)
    assert found.busy == made.passes(config)
    assert found.busy < found.total < 1.01 * found.busy + 200
