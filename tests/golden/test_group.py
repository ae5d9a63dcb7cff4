from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.arbiter import place
from golden.config import Config, Tier
from golden.group import (
    BALANCE,
    assign,
    balance,
    bank_collisions,
    compact,
    group,
    in_columns,
    ungrouped,
    utilisation,
    work,
)
from golden.prepare import prepare
from golden.schedule import Schedule, schedule
from golden.tiles import Tiles, make_tiles
from golden.traces import Head

MakeHead = Callable[..., Head]
CONFIG = Config(
    head_dim=16, query_rows=8, tile=16, lanes=4, banks=8, digits=3, piece=4, cell=2, cores=4, max_tokens=4096
)
TIERS = st.lists(st.sampled_from(list(Tier)), min_size=1, max_size=CONFIG.tile)


@given(st.data(), st.floats(0, 1), st.integers(0, 99))
def test_compact_keeps_every_computed_row_once_and_in_order(
    any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject, share: float, seed: int
) -> None:
    config, head = data.draw(any_case)
    tiles = make_tiles(config, head.grid, head.text_tokens, config.query_rows)
    computed = np.random.default_rng(seed).random(len(head.q)) < share
    computed[seed % len(computed)] = True
    rows = compact(config, tiles, computed)
    assert rows.order.tolist() == [t for t in tiles.order.tolist() if computed[t]]
    sizes = np.diff(rows.start)
    assert 1 <= sizes.min() <= sizes.max() <= config.query_rows
    frame = np.full(len(head.q), -1)
    frame[tiles.order] = tiles.place_frame
    assert (rows.place_frame == frame[rows.order]).all()
    for tile, (start, stop) in enumerate(pairwise(rows.start)):
        old = tiles.tile_of[rows.order[start:stop]]
        assert len(set(tiles.frame[old])) == 1, "tiles of two frames are joined"
        assert np.ptp(old) < config.group_window
        assert rows.frame[tile] == frame[rows.order[start]]
    # No tile is divided, and cells hold what is left of theirs.
    for new, old in ((rows.start, tiles.start), (rows.cell_start, tiles.cell_start)):
        ends = np.cumsum([int(computed[tiles.order[a:b]].sum()) for a, b in pairwise(old)])
        assert set(new[1:]) <= set(ends.tolist())
        assert (new[0], new[-1]) == (0, len(rows.order))
        assert np.diff(new).min() >= 1
    cells = [bool(computed[tiles.order[a:b]].any()) for a, b in pairwise(tiles.cell_start)]
    assert len(rows.cell_start) - 1 == sum(cells)
    assert set(rows.start) <= set(rows.cell_start)
    # Neighbours that could be one are one.
    if not computed.all():
        for tile in range(len(sizes) - 1):
            first, last = (tiles.tile_of[rows.order[rows.start[n]]] for n in (tile, tile + 1))
            alike = tiles.frame[first] == tiles.frame[last] and last - first < config.group_window
            left = int(computed[tiles.order[tiles.start[last] : tiles.start[last + 1]]].sum())
            assert not alike or sizes[tile] + left > config.query_rows


def test_tiles_are_joined_by_hand() -> None:
    tiles = make_tiles(CONFIG, (2, 4, 8), 0, 8)  # four tiles of 8 rows in each of two frames
    left = [3, 0, 4, 2, 1, 7, 8, 0]
    computed = np.zeros(64, bool)
    for tile, count in enumerate(left):
        computed[tiles.order[8 * tile : 8 * tile + count]] = True
    wide = dataclasses.replace(CONFIG, group_window=4)
    assert np.diff(compact(wide, tiles, computed).start).tolist() == [7, 2, 8, 8]
    narrow = dataclasses.replace(CONFIG, group_window=2)
    assert np.diff(compact(narrow, tiles, computed).start).tolist() == [3, 6, 8, 8]
    assert compact(narrow, tiles, computed).frame.tolist() == [0, 0, 1, 1]
    alone = dataclasses.replace(CONFIG, group_window=1)
    assert np.diff(compact(alone, tiles, computed).start).tolist() == [3, 4, 2, 1, 7, 8]


def test_all_rows_are_left_as_they_are_and_none_are_refused() -> None:
    tiles = make_tiles(CONFIG, (2, 3, 5), 3, 8)
    assert compact(CONFIG, tiles, np.ones(33, bool)) is tiles
    with pytest.raises(ValueError, match="no row is computed: at least one must be"):
        compact(CONFIG, tiles, np.zeros(33, bool))


def passes(config: Config, tiers: list[int]) -> int:
    return sum(config.passes(Tier(tier)) for tier in tiers)


@given(TIERS, st.integers(0, (1 << CONFIG.tile) - 1), st.sampled_from([4, 8, 12]))
def test_columns_hold_every_token_once_without_collisions(tiers: list[Tier], hidden: int, banks: int) -> None:
    config = dataclasses.replace(CONFIG, banks=banks)
    mask = np.array([bool(hidden >> i & 1) for i in range(len(tiers))])
    groups = in_columns(config, np.array(tiers, np.int8), mask)
    met = [int(t) for g in groups for t, a in zip(g.tokens, g.active, strict=True) if a]
    assert sorted(met) == [i for i in range(len(tiers)) if not mask[i]]
    for each in groups:
        active = each.tokens[each.active]
        assert each.tier == max((tiers[t] for t in active), default=Tier.LUT4)
        words = set(each.tokens.tolist())
        assert len({place(config, t)[0] for t in words}) == len(words), "two words of one bank"
        assert (active % config.lanes == np.flatnonzero(each.active)).all()
        if len(active):
            assert words == set(active), "idle lanes read another lane's word"
    assert [g.tier for g in groups] == sorted((g.tier for g in groups), reverse=True)
    # As few as possible: as many as the fullest lane has tokens. Without hidden ones, full but for the last.
    left = [sum(not mask[t] for t in range(lane, len(tiers), config.lanes)) for lane in range(config.lanes)]
    assert len(groups) == max(1, *left)
    if not mask.any():
        assert len(groups) == -(-len(tiers) // config.lanes)


@given(st.lists(st.sampled_from(list(Tier)), min_size=1, max_size=9))
def test_columns_take_the_fewest_passes_that_lanes_allow(tiers: list[Tier]) -> None:
    config = Config(head_dim=16, query_rows=8, tile=9, lanes=3, banks=3, digits=3, piece=3, cell=1, max_tokens=4096)
    got = passes(config, [g.tier for g in in_columns(config, np.array(tiers, np.int8))])
    depth = -(-len(tiers) // 3)
    columns = [[*tiers[lane::3], *[-1] * (depth - len(tiers[lane::3]))] for lane in range(3)]
    best = min(
        passes(config, [max(each) for each in zip(*order, strict=True)])
        for order in itertools.product(*[list(itertools.permutations(column)) for column in columns])
    )
    assert got == best


@pytest.mark.parametrize("size", [0, 17])
def test_tiles_of_a_wrong_size_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"tiers of {size} tokens: a key tile has 1..16"):
        in_columns(CONFIG, np.zeros(size, np.int8))


def test_a_hidden_tile_is_one_idle_group() -> None:
    (only,) = in_columns(CONFIG, np.full(5, 2, np.int8), np.ones(5, bool))
    assert not only.active.any()
    assert only.tier == Tier.LUT4


WORKS = st.lists(st.integers(1, 20), min_size=1, max_size=6)


@given(WORKS, st.integers(1, 3))
def test_cores_are_nearly_as_balanced_as_can_be(works: list[int], cores: int) -> None:
    core = assign(np.array(works), cores)
    loads = [sum(w for w, c in zip(works, core, strict=True) if c == n) for n in range(cores)]
    assert sum(loads) == sum(works)
    assert balance(np.array(works), core, cores) == pytest.approx(max(loads) * cores / sum(works))
    best = min(
        max(sum(w for w, c in zip(works, choice, strict=True) if c == n) for n in range(cores))
        for choice in itertools.product(range(cores), repeat=len(works))
    )
    assert max(loads) <= (4 / 3 - 1 / (3 * cores)) * best + 1e-9  # Graham, 1969
    # The longest first, each to the core that is free first.
    free = [0] * cores
    for w in sorted(works, reverse=True):
        free[free.index(min(free))] += w
    assert sorted(free) == sorted(loads)


def by_hand(config: Config, plan: Schedule) -> list[int]:
    """Cycles of every query tile: for every key tile its passes for all rows, or loading it if that takes longer."""
    cycles = []
    for rows, blocks in zip(np.diff(plan.query_start).tolist(), plan.blocks, strict=True):
        total = 0
        for block in blocks:
            tokens = int(plan.key_start[block.key_tile + 1] - plan.key_start[block.key_tile])
            total += max(tokens, rows * passes(config, [g.tier for g in block.groups]))
        cycles.append(total)
    return cycles


def test_work_and_utilisation_by_hand() -> None:
    # 8 rows and 1 row; key tiles of 16 at FULL (4 groups, 12 passes) and of 10 at LUT4 (3 groups, 3 passes).
    tiers = np.array([[2, 0], [2, 0]], np.int8)
    plan = schedule(CONFIG, [0, 8, 9], [0, 16, 26], tiers, pack=in_columns)
    cycles = work(CONFIG, plan)
    assert cycles.tolist() == [8 * 12 + 8 * 3, 16 + 10]
    lookups = 2 * 16 * 9 * (16 * 3 + 10)
    assert utilisation(CONFIG, plan, cycles) == pytest.approx(lookups / (146 * 2 * 4 * 16))


@given(st.data())
def test_grouping_computes_everything_at_its_tier_or_better(
    any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject
) -> None:
    config, head = data.draw(any_case)
    prepared = prepare(config, head)
    rows, columns = prepared.query_tiles, prepared.key_tiles
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    tiers = rng.integers(0, 3, (len(rows.frame), len(columns.piece_start) - 1)).astype(np.int8)
    wanted = np.repeat(np.repeat(tiers, np.diff(columns.piece_start), axis=1), np.diff(rows.start), axis=0)
    for made in (group(config, rows, columns, tiers), ungrouped(config, rows, columns, tiers)):
        plan = made.schedule
        got = np.full(wanted.shape, -1)
        for (a, b), blocks in zip(pairwise(plan.query_start), plan.blocks, strict=True):
            for block in blocks:
                for each in block.groups:
                    tokens = plan.key_start[block.key_tile] + each.tokens[each.active]
                    assert (got[a:b, tokens] == -1).all(), "met twice"
                    got[a:b, tokens] = each.tier
        assert (got >= wanted).all()
        assert got.shape == wanted.shape
        assert set(rows.start) <= set(plan.query_start), "split tiles keep their order"
        assert made.work.tolist() == by_hand(config, plan)
        assert len(made.core) == len(made.work) == len(plan.query_start) - 1
        assert 0 <= made.core.min() <= made.core.max() < config.cores
        loads = np.bincount(made.core, made.work, config.cores)
        assert made.balance == pytest.approx(loads.max() / loads.mean())
        assert 0 < made.lane_utilisation <= 1
        products = sum(config.passes(Tier(t)) for t in got.ravel())
        assert made.lane_utilisation == pytest.approx(products / made.work.sum() / config.lanes)
    assert (got == wanted).all(), "what comes as it is, is not raised"
    grouped = group(config, rows, columns, tiers)
    fills = np.append(np.arange(0, columns.start[-1], config.tile), columns.start[-1])
    whole = work(config, schedule(config, rows.start, fills, tiers, part_start=columns.piece_start, pack=in_columns))
    busiest = np.bincount(assign(whole, config.cores), whole).max()
    assert np.bincount(grouped.core, grouped.work).max() <= busiest, "splitting never takes longer"


def test_collisions_by_hand() -> None:
    # Eight banks. In order, the first group has the tokens 0, 8, 3 and 4: two words of bank 0. Idle lanes ask for none.
    tiers = np.zeros((2, 16), np.int8)
    tiers[:, [0, 3, 4, 8]] = Tier.FULL
    assert bank_collisions(CONFIG, schedule(CONFIG, [0, 8, 9], [0, 16], tiers)) == 2
    assert bank_collisions(CONFIG, schedule(CONFIG, [0, 8, 9], [0, 16], tiers, pack=in_columns)) == 0
    assert bank_collisions(CONFIG, schedule(CONFIG, [0, 8], [0, 3], tiers[:1, :3])) == 0


def test_a_large_tile_is_split_over_idle_cores() -> None:
    config = dataclasses.replace(CONFIG, cores=2, query_rows=16)
    tiles = make_tiles(config, (1, 4, 4), 0, 16)
    assert isinstance(tiles, Tiles)
    tiers = np.full((1, 4), Tier.FULL, np.int8)
    made = group(config, tiles, tiles, tiers)
    assert made.schedule.query_start.tolist() == [0, 8, 16]
    assert made.work.tolist() == [96, 96]
    assert sorted(made.core) == [0, 1]
    assert (made.balance, made.lane_utilisation) == (1.0, 1.0)
    left = ungrouped(config, tiles, tiles, tiers)
    assert left.schedule.query_start.tolist() == [0, 16]
    assert (left.balance, left.work.tolist()) == (2.0, [192])


@pytest.mark.parametrize("rows", [32, 48])
def test_splitting_never_takes_longer(rows: int) -> None:
    tiles = make_tiles(CONFIG, (1, 1, rows), 0, 8)
    columns = make_tiles(CONFIG, (2, 8, 8), 0, 16)
    tiers = np.zeros((len(tiles.frame), len(columns.piece_start) - 1), np.int8)
    tiers[0, :4] = Tier.LUT8
    made, plain = (how(CONFIG, tiles, columns, tiers) for how in (group, ungrouped))
    busiest, unsplit = (np.bincount(each.core, each.work).max() for each in (made, plain))
    assert busiest <= unsplit


def test_grouping_fills_lanes_that_the_order_leaves_idle(make_head: MakeHead) -> None:
    # A tier for every piece of 2: half of what a lane group takes.
    config = dataclasses.replace(CONFIG, query_rows=16, piece=2)
    prepared = prepare(config, make_head((6, 5, 7)))
    rows, columns = prepared.query_tiles, prepared.key_tiles
    tiers = np.random.default_rng(0).choice(3, (len(rows.frame), len(columns.piece_start) - 1), p=[0.8, 0.15, 0.05])
    made, plain = (how(config, rows, columns, tiers.astype(np.int8)) for how in (group, ungrouped))
    assert made.lane_utilisation > 0.97 > plain.lane_utilisation + 0.1
    assert made.balance < BALANCE < plain.balance
    assert made.work.sum() / plain.work.sum() < 0.95
