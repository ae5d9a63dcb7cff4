from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import Config, Tier
from golden.schedule import in_order, schedule

CONFIG = Config(head_dim=16, query_rows=8, tile=16, lanes=4, banks=4, digits=3, piece=4, cell=2, max_tokens=4096)
TIERS = st.lists(st.sampled_from(list(Tier)), min_size=1, max_size=CONFIG.tile)


@given(TIERS, st.integers(0, (1 << CONFIG.tile) - 1))
def test_every_unmasked_token_is_active_once_at_its_tier(tiers: list[Tier], hidden: int) -> None:
    mask = np.array([bool(hidden >> i & 1) for i in range(len(tiers))])
    groups = in_order(CONFIG, np.array(tiers, np.int8), mask)
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
    groups = in_order(CONFIG, np.array(tiers, np.int8))
    for group, following in pairwise(groups):
        assert group.active.all() or following.tier != group.tier


def test_the_most_groups_are_reached() -> None:
    tiers = np.array([Tier.FULL] + [Tier.LUT8] + [Tier.LUT4] * 14, np.int8)
    assert len(in_order(CONFIG, tiers)) == CONFIG.max_groups


def test_a_masked_tile_is_one_idle_group() -> None:
    (group,) = in_order(CONFIG, np.zeros(5, np.int8), np.ones(5, bool))
    assert not group.active.any()


@pytest.mark.parametrize("size", [0, 17])
def test_tiles_of_a_wrong_size_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"tiers of {size} tokens: a key tile has 1..16"):
        in_order(CONFIG, np.zeros(size, np.int8))


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
    groups, keys = plan.counts
    assert groups.tolist() == [[0, 0, 3], [3, 0, 0]]
    assert keys.tolist() == [[0, 0, 10], [10, 0, 0]]


@given(st.data())
def test_counts_are_those_of_all_groups(data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    sizes = data.draw(st.lists(st.integers(1, 16), min_size=1, max_size=4))
    tokens = sum(sizes)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    tiers, mask = rng.integers(0, 3, (len(rows), tokens)).astype(np.int8), rng.random(tokens) < 0.3
    plan = schedule(CONFIG, np.cumsum([0, *rows]), np.cumsum([0, *sizes]), tiers, mask)
    groups, keys = np.zeros((2, len(rows), 3), int)
    for tile, blocks in enumerate(plan.blocks):
        assert [block.key_tile for block in blocks] == list(range(len(sizes)))
        for block in blocks:
            for group in block.groups:
                groups[tile, group.tier] += 1
                keys[tile, group.tier] += group.active.sum()
    assert (plan.counts[0] == groups).all()
    assert (plan.counts[1] == keys).all()
    assert keys.sum() == len(rows) * (~mask).sum()
    assert plan.passes(CONFIG) == sum(n * (g @ [1, 2, 3]) for n, g in zip(rows, groups, strict=True))
    assert plan.products(CONFIG) == 32 * sum(n * (k @ [1, 2, 3]) for n, k in zip(rows, keys, strict=True))


def test_blocks_are_made_when_asked_for_and_alike_ones_are_shared() -> None:
    tiers = np.array([[0, 2, 0], [0, 2, 1]], np.int8)
    blocks = schedule(CONFIG, [0, 8, 12], [0, 16, 32, 48], tiers).blocks
    assert len(blocks) == 2
    assert [len(row) for row in blocks] == [3, 3]
    assert blocks[0][0].groups is blocks[0][2].groups is blocks[1][0].groups
    assert blocks[0][1].groups is blocks[1][1].groups
    assert blocks[1][2].groups is not blocks[1][0].groups
    with pytest.raises(IndexError):
        blocks[2]


def test_parts_may_cross_key_tiles() -> None:
    # Parts of 5, 14 and 2 tokens over key tiles of 16 and 5.
    tiers = np.array([[2, 0, 1]], np.int8)
    parts = schedule(CONFIG, [0, 4], [0, 16, 21], tiers, part_start=np.array([0, 5, 19, 21]))
    keys = schedule(CONFIG, [0, 4], [0, 16, 21], np.repeat(tiers, [5, 14, 2], axis=1))
    for left, right in zip(parts.blocks[0], keys.blocks[0], strict=True):
        assert [(g.tier, g.tokens.tolist()) for g in left.groups] == [(g.tier, g.tokens.tolist()) for g in right.groups]
    assert parts.counts[1].tolist() == [[14, 2, 5]]


@pytest.mark.parametrize("start", [[0, 5, 20], [1, 21], [0, 5, 5, 21]])
def test_bad_parts_are_named(start: list[int]) -> None:
    with pytest.raises(ValueError, match="part_start: must rise from 0 to 21"):
        schedule(CONFIG, [0, 4], [0, 16, 21], np.zeros((1, len(start) - 1), np.int8), part_start=np.array(start))


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
