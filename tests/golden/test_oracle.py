from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import softmax

from golden.config import Config, Tier
from golden.group import compact
from golden.oracle import attend, attend_dropping, attention_map, dense, rank, relative_l2
from golden.prepare import prepare
from golden.traces import Head

MakeHead = Callable[..., Head]


@pytest.mark.parametrize("rows", [5, 512, 700])
def test_dense_matches_scipy(rows: int) -> None:
    rng = np.random.default_rng(rows)
    q, k, v = rng.standard_normal((rows, 16)) * 3, rng.standard_normal((33, 16)) * 3, rng.standard_normal((33, 16))
    assert np.allclose(dense(q, k, v), softmax(q @ k.T / 4, axis=1) @ v, rtol=1e-12, atol=1e-14)


def test_dense_survives_huge_scores() -> None:
    q, k, v = np.full((1, 4), 1e4), np.array([[1e4] * 4, [0] * 4]), np.array([[3.0] * 4, [5.0] * 4])
    assert dense(q, k, v).tolist() == [[3.0] * 4]


def test_dropping_equals_attention_over_the_kept_keys() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((20, 16)) for _ in range(3))
    keep = rng.random((20, 20)) < 0.3
    keep[4] = False
    got = dense(q, k, v, keep)
    for row in range(20):
        expected = softmax(q[row] @ k[keep[row]].T / 4) @ v[keep[row]] if keep[row].any() else np.zeros(16)
        assert np.allclose(got[row], expected)


def test_dropped_blocks_are_those_below_the_top_tier(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    prepared = prepare(tiny, head)
    columns = prepared.key_tiles
    tiers = np.full((8, 16), Tier.LUT8, np.int8)
    assert (attend_dropping(head, prepared, prepared.query_tiles, tiers) == attend(head)).all()
    tiers[2, 1] = Tier.LUT4
    got = attend_dropping(head, prepared, prepared.query_tiles, tiers)
    changed = (got != attend(head)).any(axis=1)
    assert (changed == (prepared.query_tiles.tile_of == 2)).all()
    kept = np.delete(np.arange(64), columns.order[columns.piece_start[1] : columns.piece_start[2]])
    assert len(kept) == 60
    assert np.allclose(got[changed], dense(head.q[changed], head.k[kept], head.v[kept]), rtol=1e-12, atol=1e-14)


def test_dropping_leaves_rows_that_are_not_computed_at_zero(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    prepared = prepare(tiny, head)
    computed = np.arange(64) % 3 > 0
    rows = compact(tiny, prepared.query_tiles, computed)
    got = attend_dropping(head, prepared, rows, np.full((len(rows.frame), 16), Tier.LUT8, np.int8))
    assert (got[computed] == attend(head)[computed]).all()
    assert not got[~computed].any()


def test_relative_l2_by_hand() -> None:
    assert relative_l2(np.array([[3.0, 0.0]]), np.array([[3.0, 4.0]])) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="zero everywhere"):
        relative_l2(np.ones(2), np.zeros(2))


def test_the_map_sums_the_mass_of_every_tile(tiny: Config, make_head: MakeHead) -> None:
    head = make_head((2, 5, 6), 3)
    prepared = prepare(tiny, head)
    pooled = attention_map(head, prepared.query_tiles, prepared.key_tiles)
    p = softmax(head.q.astype(float) @ head.k.astype(float).T / 4, axis=1)
    rows, columns = prepared.query_tiles.tile_of, prepared.key_tiles.tile_of
    for i in range(pooled.shape[0]):
        for j in range(pooled.shape[1]):
            assert pooled[i, j] == pytest.approx(p[rows == i][:, columns == j].sum(axis=1).mean())
    assert np.allclose(pooled.sum(axis=1), 1)


def test_the_rank_is_the_logarithm_of_the_root_mean_square_of_probabilities(tiny: Config, make_head: MakeHead) -> None:
    config = dataclasses.replace(tiny, rotate=False)
    head = make_head((2, 5, 6), 3)
    head.q[7, 3] = np.nan
    prepared = prepare(config, head)
    q = np.where(np.isfinite(head.q).all(axis=1, keepdims=True), head.q, 0).astype(float)
    p = softmax(q @ head.k.astype(float).T / 4, axis=1)
    rows, columns = prepared.query_tiles, prepared.key_tiles
    got = rank(prepared, rows)
    for i, (a, b) in enumerate(pairwise(rows.start)):
        for j, (c, d) in enumerate(pairwise(columns.piece_start)):
            wanted = np.log2((p[rows.order[a:b]][:, columns.order[c:d]] ** 2).mean()) / 2
            # Half a step of rounding; FP16, 2**-11 of queries and keys, and 2**-15 of their largest.
            assert abs(got[i, j] / 64 - wanted) <= 0.5 / 64 + 0.01


def test_the_rank_of_what_is_never_met_is_finite(tiny: Config, make_head: MakeHead) -> None:
    got = rank(prepare(tiny, make_head(scale=60.0)), prepare(tiny, make_head()).query_tiles)
    assert got.min() == -(1 << tiny.estimate_integer_bits) << tiny.estimate_fraction_bits
