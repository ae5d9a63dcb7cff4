from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from golden.config import Config, Tier
from golden.oracle import attention_map
from golden.prepare import Prepared, prepare
from golden.speculate import FRAME_MASS, speculate
from golden.tiles import TEXT
from golden.traces import Head, load

MakeHead = Callable[..., Head]


def plant(head: Head, prepared: Prepared, query_tile: int, key_tile: int, strength: float) -> Head:
    """The head with the keys of one tile turned towards the queries of one query tile."""
    q, k = head.q.copy(), head.k.copy()
    direction = np.eye(head.q.shape[1], dtype=np.float32)[5] * strength
    q[prepared.query_tiles.tile_of == query_tile] += direction
    k[prepared.key_tiles.tile_of == key_tile] += direction
    return dataclasses.replace(head, q=q, k=k)


@pytest.mark.parametrize("key_tile", [1, 6, 11])
@pytest.mark.parametrize("query_tile", [0, 13])
def test_a_planted_hot_tile_is_found(tiny: Config, make_head: MakeHead, query_tile: int, key_tile: int) -> None:
    head = make_head((3, 8, 8), scale=0.3)
    head = plant(head, prepare(tiny, head), query_tile, key_tile, strength=6.0)
    got = speculate(tiny, prepare(tiny, head))
    assert got.estimate[query_tile].argmax() == key_tile
    assert got.estimate[query_tile, key_tile] > 0.9
    assert got.tiers[query_tile, key_tile] > Tier.LUT4
    assert got.frame_mass[query_tile].argmax() == key_tile // 4


def test_a_tile_with_one_strong_quarter_beats_its_mean(make_head: MakeHead) -> None:
    config = Config(head_dim=16, query_rows=64, tile=64, rotate=False, max_tokens=4096)
    head = make_head((1, 16, 16), scale=0.1)
    k = np.zeros_like(head.k).reshape(16, 16, 16)
    k[:8, 8:, 0] = 1.5  # one tile is a little warm everywhere,
    k[8:12, :4, 0], k[12:, :4, 0], k[8:, 4:8, 0] = 12, -4, -4  # another hot in a quarter, cold elsewhere: its mean is 0
    q = head.q + np.eye(16, dtype=np.float32)[0] * 4
    got = speculate(config, prepare(config, dataclasses.replace(head, q=q, k=k.reshape(-1, 16))))
    assert (got.tile_score[:, 1] > got.tile_score[:, 2]).all()
    assert (got.estimate[:, 2] > 0.9).all()


@pytest.mark.parametrize("head_index", [0, 1])
def test_the_estimate_follows_the_attention_of_real_heads(sample_path: str, head_index: int) -> None:
    config = Config()
    head = load(sample_path)[head_index]
    prepared = prepare(config, head)
    got = speculate(config, prepared)
    exact = attention_map(head, prepared.query_tiles, prepared.key_tiles)
    # The top tiles hold nearly as much as the best choice of as many could.
    best = -np.sort(-exact, axis=1)[:, : int(config.top_cap * exact.shape[1])]
    assert (exact * (got.tiers > 0)).sum() > 0.9 * best.sum()


@pytest.mark.parametrize(
    ("mass", "floor", "cap"), [(0.9, 0.05, 0.25), (0.5, 0.2, 0.2), (1.0, 0.0, 0.5), (0.01, 0.0, 1.0)]
)
def test_the_budget_holds_in_every_row(make_head: MakeHead, mass: float, floor: float, cap: float) -> None:
    config = Config(
        head_dim=16,
        query_rows=8,
        tile=16,
        lanes=4,
        banks=4,
        max_tokens=4096,
        top_mass=mass,
        top_floor=floor,
        top_cap=cap,
    )
    got = speculate(config, prepare(config, make_head((4, 8, 16), scale=2.0)))
    tiles = got.tiers.shape[1]
    top = got.tiers > Tier.LUT4
    least, most = max(1, int(floor * tiles)), max(1, int(cap * tiles))
    for row in range(len(top)):
        count, held = top[row].sum(), got.estimate[row][top[row]].sum()
        assert least <= count <= most
        assert held >= mass - 1e-9 or count == most
        # One tile fewer would not do: what the rule took last is the lightest that is not there by right.
        optional = got.estimate[row][top[row] & ~got.always[row]]
        if count > max(least, 1) and len(optional):
            assert held - optional.min() < mass
            assert optional.min() >= got.estimate[row][~top[row]].max()


@pytest.mark.parametrize("rows", [8, 16, 32])
def test_own_and_text_tiles_are_always_in(tiny: Config, make_head: MakeHead, rows: int) -> None:
    config = dataclasses.replace(tiny, query_rows=rows, top_floor=0.0, top_cap=0.05)
    head = make_head((2, 9, 7), 20)
    prepared = prepare(config, head)
    got = speculate(config, prepared)
    for token in range(len(head.q)):
        assert got.tiers[prepared.query_tiles.tile_of[token], prepared.key_tiles.tile_of[token]] > Tier.LUT4
    assert (got.tiers[:, prepared.key_tiles.frame == TEXT] > Tier.LUT4).all()
    # The cap is below what is always in, so that nothing else is.
    assert ((got.tiers > Tier.LUT4) == got.always).all()


def test_frames_are_kept_until_they_hold_their_mass(tiny: Config, make_head: MakeHead) -> None:
    head = make_head((6, 4, 8), 5, scale=0.5)
    frame = np.eye(16, dtype=np.float32)[np.arange(6).repeat(32)] * 5
    head.q[5:] += np.roll(frame, 64, axis=0)  # frames attend to the frame two before them
    head.k[5:] += frame
    prepared = prepare(tiny, head)
    got = speculate(tiny, prepared)
    assert got.frame_mass.shape == (len(prepared.query_tiles.frame), 7)
    assert np.allclose(got.frame_mass.sum(axis=1), 1)
    assert ((got.frame_mass * got.frames_kept).sum(axis=1) >= FRAME_MASS - 1e-9).all()
    assert 0.3 < got.frames_kept.mean() < 1
    frame = prepared.query_tiles.frame
    assert got.frames_kept[:, :2].all(), "text and the first frame"
    assert got.frames_kept[np.arange(len(frame)), frame + 1].all(), "the own frame"
    outside = ~got.frames_kept[:, prepared.key_tiles.frame + 1]
    assert (got.estimate[outside] == 0).all()
    assert np.allclose(got.estimate.sum(axis=1), 1)


def test_two_digits_have_no_full_tier_and_three_have_a_third(make_head: MakeHead, tiny: Config) -> None:
    head = make_head((4, 8, 16), scale=2.0)
    for digits, expected in ((2, {Tier.LUT4, Tier.LUT8}), (3, set(Tier))):
        config = dataclasses.replace(tiny, digits=digits, top_cap=0.3, top_floor=0.3)
        got = speculate(config, prepare(config, head))
        assert set(np.unique(got.tiers)) == expected
    top, full = (got.tiers > Tier.LUT4), (got.tiers == Tier.FULL)
    assert (full.sum(axis=1) == top.sum(axis=1) // 3).all()
    for row in range(len(top)):
        assert got.estimate[row][full[row]].min() >= got.estimate[row][top[row] & ~full[row]].max()


def test_speculation_is_repeatable_and_leaves_its_input_alone(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    before = head.q.copy(), head.k.copy()
    first, second = (speculate(tiny, prepare(tiny, head)) for _ in range(2))
    for field in dataclasses.fields(first):
        assert (getattr(first, field.name) == getattr(second, field.name)).all(), field.name
    assert (head.q == before[0]).all()
    assert (head.k == before[1]).all()


def test_invalid_query_rows_do_not_spoil_their_tile(tiny: Config, make_head: MakeHead) -> None:
    head = make_head((3, 8, 8), scale=0.3)
    head = plant(head, prepare(tiny, head), 13, 6, strength=6.0)
    row = np.flatnonzero(prepare(tiny, head).query_tiles.tile_of == 13)[0]
    head.q[row, 0] = np.nan
    got = speculate(tiny, prepare(tiny, head))
    assert np.isfinite(got.estimate).all()
    assert got.estimate[13].argmax() == 6


def test_text_only_heads_have_one_level(tiny: Config, make_head: MakeHead) -> None:
    got = speculate(tiny, prepare(tiny, make_head((0, 0, 0), 40)))
    assert got.frame_mass.shape[1] == 1
    assert (got.tiers > Tier.LUT4).all()
