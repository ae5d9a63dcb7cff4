from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import Config, Tier
from golden.schedule import lane_groups, schedule

CONFIG = Config(head_dim=16, query_rows=8, tile=16, lanes=4, banks=4, digits=3, max_tokens=4096)
TIERS = st.lists(st.sampled_from(list(Tier)), min_size=1, max_size=CONFIG.tile)


@given(TIERS, st.integers(0, (1 << CONFIG.tile) - 1))
def test_every_unmasked_token_is_active_once_at_its_tier(tiers: list[Tier], hidden: int) -> None:
    mask = np.array([bool(hidden >> i & 1) for i in range(len(tiers))])
    groups = lane_groups(CONFIG, np.array(tiers, np.int8), mask)
    met = [(int(t), g.tier) for g in groups for t, a in zip(g.tokens, g.active, strict=True) if a]
    assert sorted(met) == [(i, tiers[i]) for i in range(len(tiers)) if not mask[i]]
    assert 1 <= len(groups) <= CONFIG.max_groups
    for group in groups:
        assert len(group.tokens) == len(group.active) == CONFIG.lanes
        # Idle lanes ask for a word that another lane reads anyway, so that they never cost a bank.
        if group.active.any():
            assert set(group.tokens[~group.active]) <= set(group.tokens[group.active])
    assert [g.tier for g in groups] == sorted((g.tier for g in groups), reverse=True)


@given(TIERS)
def test_only_the_last_group_of_a_tier_is_partial(tiers: list[Tier]) -> None:
    groups = lane_groups(CONFIG, np.array(tiers, np.int8))
    for group, following in pairwise(groups):
        assert group.active.all() or following.tier != group.tier


def test_the_most_groups_are_reached() -> None:
    tiers = np.array([Tier.FULL] + [Tier.LUT8] + [Tier.LUT4] * 14, np.int8)
    assert len(lane_groups(CONFIG, tiers)) == CONFIG.max_groups


def test_a_masked_tile_is_one_idle_group() -> None:
    (group,) = lane_groups(CONFIG, np.zeros(5, np.int8), np.ones(5, bool))
    assert not group.active.any()


@pytest.mark.parametrize("size", [0, 17])
def test_tiles_of_a_wrong_size_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"tiers of {size} tokens: a key tile has 1..16"):
        lane_groups(CONFIG, np.zeros(size, np.int8))


def test_block_tiers_equal_the_same_tiers_per_key() -> None:
    rng = np.random.default_rng(0)
    starts, key_start = [0, 8, 13], np.array([0, 16, 21, 37])
    tiers = rng.integers(0, 3, (2, 3)).astype(np.int8)
    per_key = np.repeat(tiers, np.diff(key_start), axis=1)
    first, second = (schedule(CONFIG, starts, key_start, t) for t in (tiers, per_key))
    for left, right in zip(first.blocks, second.blocks, strict=True):
        for a, b in zip(left, right, strict=True):
            assert a.key_tile == b.key_tile
            assert [(g.tier, g.tokens.tolist()) for g in a.groups] == [(g.tier, g.tokens.tolist()) for g in b.groups]


def test_work_is_counted_by_hand() -> None:
    # Two query tiles of 8 and 4 rows, one key tile of 10: FULL takes three passes, LUT4 one.
    tiers = np.array([[Tier.FULL], [Tier.LUT4]], np.int8)
    plan = schedule(CONFIG, [0, 8, 12], [0, 10], tiers)
    assert plan.passes(CONFIG) == 8 * 3 * 3 + 4 * 1 * 3
    assert plan.products(CONFIG) == 2 * 16 * (8 * 3 * 10 + 4 * 1 * 10)
    assert plan.tier_shares() == {"LUT4": 4 / 12, "LUT8": 0.0, "FULL": 8 / 12}


@pytest.mark.parametrize(
    ("query_start", "key_start", "shape", "message"),
    [
        ([0, 9], [0, 4], (1, 1), "query_start: must rise from 0 in steps of 1..8"),
        ([0, 4, 4], [0, 4], (2, 1), "query_start"),
        ([1, 4], [0, 4], (1, 1), "query_start"),
        ([0, 4], [0, 17], (1, 1), "key_start: must rise from 0 in steps of 1..16"),
        ([0, 4], [0, 4], (2, 1), r"tiers of shape \(2, 1\)"),
        ([0, 4], [0, 4], (1, 3), r"must be \[1, 1\] or \[..., 4\]"),
    ],
)
def test_bad_shapes_are_named(
    query_start: list[int], key_start: list[int], shape: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        schedule(CONFIG, query_start, key_start, np.zeros(shape, np.int8))
