from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import Config
from golden.masks import Window, attend_kept, sparge, svg, widest
from golden.oracle import dense
from golden.tiles import make_tiles
from golden.traces import Head, load

MakeHead = Callable[..., Head]
Kind = Literal["spatial", "temporal"]
KINDS: list[Kind] = ["spatial", "temporal"]
CONFIG = Config()


def flat(q: Sequence[Sequence[float]], k: Sequence[Sequence[float]]) -> Head:
    """A head of a single row of tokens; its values are its keys."""
    return Head("flat", np.array(q, np.float32), np.array(k, np.float32), np.array(k, np.float32), (1, 1, len(q)))


def random_head(grid: tuple[int, int, int], text: int, seed: int, head_dim: int = 8) -> Head:
    rng = np.random.default_rng(seed)
    q, k, v = rng.standard_normal((3, int(np.prod(grid)) + text, head_dim)).astype(np.float32)
    return Head("random", q, k, v, grid, text)


@pytest.mark.parametrize("rows", [5, 512, 700])
def test_only_kept_pairs_take_part_and_are_counted(make_head: MakeHead, rows: int) -> None:
    head = make_head((1, 1, rows))
    kept = np.random.default_rng(1).random((rows, rows)) < 0.5
    output, pairs = attend_kept(head, lambda tokens: kept[tokens])
    assert pairs == kept.sum()
    # The same function in float64; only the row chunks may differ.
    assert np.allclose(output, dense(head.q, head.k, head.v, kept), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.05, "1000 1000 1000 1000"),  # the best block of every row stays, a quarter of the pairs
        (0.30, "1000 1000 1000 1000"),  # 19.2 of 64 pairs: a fifth block of 4 would be too much
        (0.32, "1100 1000 1000 1000"),
        (0.50, "1100 1100 1100 1100"),
        (0.75, "1110 1110 1110 1110"),
        (1.00, "1111 1111 1111 1111"),
    ],
)
def test_sparge_by_hand(share: float, expected: str) -> None:
    # Tiles of two equal tokens; key tiles score 3, 1, -1, -3 with every query.
    head = flat([[1, 0]] * 8, [[x, 0] for x in (3, 3, 1, 1, -1, -1, -3, -3)])
    tiles = make_tiles(CONFIG, head.grid, 0, 2)
    blocks = sparge(head, tiles, tiles, share)
    assert " ".join("".join(str(int(x)) for x in row) for row in blocks) == expected


@pytest.mark.parametrize(("share", "others"), [(0.1, [1, 0, 0]), (0.5, [1, 0, 0]), (0.75, [1, 1, 0])])
def test_sparge_keeps_tiles_of_unlike_keys(share: float, others: list[int]) -> None:
    # The last tile's cosine is 9/34 - 25/34; the mean over all four pairs 9/34.
    head = flat([[1, 0]] * 8, [[3, 0], [3, 0], [1, 0], [1, 0], [-1, 0], [-1, 0], [-3, 5], [-3, -5]])
    tiles = make_tiles(CONFIG, head.grid, 0, 2)
    assert sparge(head, tiles, tiles, share, similarity=0.27).tolist() == [[bool(x) for x in [*others, 1]]] * 4
    assert not sparge(head, tiles, tiles, 0.5, similarity=0.26)[:, 3].any()


def test_sparge_keeps_tiles_of_unlike_queries() -> None:
    keys = [[x, 0.0] for x in (3, 3, 1, 1, -1, -1, -3, -3)]
    head = flat([[1, 0], [1, 0], [1, 9], [1, -9], *[[1, 0]] * 4], keys)
    tiles = make_tiles(CONFIG, head.grid, 0, 2)
    assert sparge(head, tiles, tiles, 0.1, similarity=0.5).sum(axis=1).tolist() == [1, 4, 1, 1]


def test_sparge_does_not_notice_a_shift_of_all_keys(make_head: MakeHead) -> None:
    head = make_head((2, 4, 8), scale=3.0)
    # Shifted, tiles would be alike: cosines near 1.
    shifted = Head("shifted", head.q, head.k + np.float32(64), head.v, head.grid)
    tiles = make_tiles(CONFIG, head.grid, 0, 8)
    assert (sparge(shifted, tiles, tiles, 0.3, 0.13) == sparge(head, tiles, tiles, 0.3, 0.13)).all()


def test_sparge_treats_rows_of_one_peak_alike() -> None:
    # All mass is in the first tile: what is ahead of the others is 1 in every row, so their ranks decide.
    head = flat([[900, 0]] * 8, [[x, 0] for x in (3, 3, 1, 1, -1, -1, -3, -3)])
    tiles = make_tiles(CONFIG, head.grid, 0, 2)
    assert sparge(head, tiles, tiles, 0.5).tolist() == [[True, True, False, False]] * 4


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7)),
    st.integers(0, 9),
    st.floats(0.01, 1),
    st.sampled_from([0.0, 0.3, 2.0]),
    st.integers(2, 16),
)
def test_sparge_fills_the_share_with_the_best_blocks(
    grid: tuple[int, int, int], text: int, share: float, similarity: float, most: int
) -> None:
    head = random_head(grid, text, 0)
    rows, columns = make_tiles(CONFIG, grid, text, most), make_tiles(CONFIG, grid, text, 8)
    least = sparge(head, rows, columns, 1e-9, similarity)
    blocks = sparge(head, rows, columns, share, similarity)
    assert (blocks | ~least).all()
    assert blocks.any(axis=1).all()
    size = np.outer(np.diff(rows.start), np.diff(columns.start))
    budget = share * len(head.q) ** 2
    if (blocks != least).any():
        assert size[blocks].sum() <= budget
    if not blocks.all():  # no room for another block of the largest size
        assert size[blocks].sum() + size.max() > budget
    # More never means other blocks.
    assert (sparge(head, rows, columns, min(1, share * 1.5), similarity) | ~blocks).all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Token 1 + 4 * frame + spot; the query is spot 1 of frame 1. The first frame is 1 to 4, text 0.
        ("spatial", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        # Places in the order of spots: spot 1 of all frames (2, 6, 10), before it spot 0 of the last, after it spot 2
        # of the first frame.
        ("temporal", [0, 1, 2, 3, 4, 6, 9, 10]),
    ],
)
def test_windows_by_hand(kind: Kind, expected: list[int]) -> None:
    kept = Window(kind, (3, 1, 4), 1, 1).keep(np.array([6, 0]))
    assert np.flatnonzero(kept[0]).tolist() == expected
    assert kept[1].all()


@pytest.mark.parametrize("kind", KINDS)
@given(st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 7)), st.integers(0, 9), st.integers(0, 150))
def test_pairs_of_a_window_are_those_it_keeps(kind: Kind, grid: tuple[int, int, int], text: int, reach: int) -> None:
    window = Window(kind, grid, text, reach)
    kept = window.keep(np.arange(int(np.prod(grid)) + text))
    assert window.pairs() == kept.sum()
    assert kept[:, :text].all()
    assert kept[:text].all()
    assert kept.diagonal().all()
    assert kept.all() or reach < int(np.prod(grid))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [(4, 4, 4), (3, 5, 7), (1, 4, 6), (9, 1, 2)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_the_widest_window_fills_the_share(
    make_head: MakeHead, kind: Kind, grid: tuple[int, int, int], share: float
) -> None:
    head = make_head(grid, 3)
    window = widest(kind, head, share)
    budget = share * len(head.q) ** 2
    assert window.pairs() <= budget or window.reach == 0
    wider = Window(kind, grid, 3, window.reach + 1)
    assert wider.pairs() > budget or share == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_svg_finds_out_what_a_head_attends_to(make_head: MakeHead, kind: Kind) -> None:
    head = make_head((6, 4, 5), 2, head_dim=32, scale=0.1)
    video = np.arange(120)
    label = video // 20 if kind == "spatial" else video % 20
    code = np.concatenate([np.zeros((2, 32)), np.eye(32)[label] * 8]).astype(np.float32)
    head = Head("planted", head.q + code, head.k + code, head.v, head.grid, head.text_tokens)
    assert svg(head, 0.4).kind == kind


def test_svg_takes_the_smaller_error_on_real_heads(sample_path: str) -> None:
    head = load(sample_path)[0]
    exact = dense(head.q, head.k, head.v)
    assert all(widest(kind, head, 0.6).pairs() <= 0.6 * len(head.q) ** 2 for kind in KINDS)
    error = {kind: np.square(attend_kept(head, widest(kind, head, 0.6).keep)[0] - exact).mean() for kind in KINDS}
    # 16 sampled rows may miss a close race; this one is not.
    assert max(error.values()) > 1.2 * min(error.values())
    assert svg(head, 0.6).kind == min(KINDS, key=lambda kind: error[kind])


def test_svg_is_as_narrow_as_the_share_if_one_kind_can(make_head: MakeHead) -> None:
    # Four frames: the first and the own one are 7/16 of all pairs, the first and the own place 19/64. The head attends
    # to its frame, which is never to be had for less.
    head = make_head((4, 4, 4), scale=0.1)
    code = np.eye(16, dtype=np.float32)[np.arange(64) // 16] * 8
    head = Head("planted", head.q + code, head.k + code, head.v, head.grid)
    assert [Window(kind, head.grid, 0, 0).pairs() / 64**2 for kind in KINDS] == [7 / 16, 19 / 64]
    kinds = {share: svg(head, share).kind for share in (0.1, 0.3, 0.43, 0.44)}
    assert kinds == {0.1: "temporal", 0.3: "temporal", 0.43: "temporal", 0.44: "spatial"}
