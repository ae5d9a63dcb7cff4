from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import Config
from golden.tiles import TEXT, Tiles, make_tiles, means, owner, patch


@pytest.mark.parametrize(
    ("height", "width", "most", "expected"),
    [
        (16, 16, 64, (8, 8)),
        (16, 16, 16, (4, 4)),
        (16, 16, 32, (4, 8)),
        (4, 4, 64, (4, 4)),
        (1, 100, 64, (1, 64)),
        (16, 4, 64, (16, 4)),
        (30, 45, 64, (8, 8)),
        (10, 9, 16, (5, 3)),
    ],
)
def test_patches_are_as_square_as_possible(height: int, width: int, most: int, expected: tuple[int, int]) -> None:
    assert patch(height, width, most) == expected


@given(st.integers(0, 3), st.integers(1, 13), st.integers(1, 13), st.integers(0, 20), st.integers(2, 20))
def test_tiles_partition_the_tokens(frames: int, height: int, width: int, text: int, most: int) -> None:
    total = frames * height * width + text
    if total == 0:
        return
    tiles = make_tiles(Config(), (frames, height, width), text, most)
    assert sorted(tiles.order.tolist()) == list(range(total))
    sizes = np.diff(tiles.start)
    assert sizes.min() >= 1
    assert sizes.max() <= most
    assert tiles.start[-1] == total
    for tile, (start, stop) in enumerate(zip(tiles.start, tiles.start[1:], strict=False)):
        tokens = tiles.order[start:stop]
        assert (tiles.tile_of[tokens] == tile).all()
        if tiles.frame[tile] == TEXT:
            assert tokens.max() < text
        else:
            video = tokens - text
            assert (video // (height * width) == tiles.frame[tile]).all()
            rows, columns = video // width % height, video % width
            # A rectangle without holes.
            assert (np.ptp(rows) + 1) * (np.ptp(columns) + 1) == len(tokens)


def spans(start: np.ndarray) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in pairwise(start)]


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.integers(2, 20), st.integers(2, 16), st.integers(1, 16)
)
def test_cells_partition_pieces_and_pieces_tiles(
    height: int, width: int, text: int, most: int, piece: int, cell: int
) -> None:
    config = Config(piece=piece, cell=min(piece, cell))
    tiles = make_tiles(config, (2, height, width), text, most)
    for outer, inner, largest, owners in (
        (tiles.start, tiles.piece_start, config.piece, tiles.piece_tile),
        (tiles.piece_start, tiles.cell_start, config.cell, tiles.cell_piece),
    ):
        assert set(outer) <= set(inner)
        assert 1 <= np.diff(inner).min() <= np.diff(inner).max() <= largest
        for part, (start, stop) in enumerate(spans(inner)):
            (whole,) = [n for n, (a, b) in enumerate(spans(outer)) if a <= start and stop <= b]
            assert owners[part] == whole
            video = tiles.order[start:stop] - text
            if video[0] >= 0:
                rows, columns = video // width % height, video % width
                assert (np.ptp(rows) + 1) * (np.ptp(columns) + 1) == len(video), "a rectangle without holes"
        # Halves and their halves: never more than twice as many parts as are needed.
        sizes = np.diff(outer)
        assert (np.bincount(owners) <= np.maximum(1, 2 * -(-sizes // largest))).all()
    assert (tiles.place_tile == np.searchsorted(tiles.start, np.arange(len(tiles.order)), side="right") - 1).all()


def test_pieces_are_tiles_for_a_closer_look() -> None:
    tiles = make_tiles(Config(), (2, 8, 12), 21, 64)
    pieces = tiles.pieces
    assert isinstance(pieces, Tiles)
    assert (pieces.start == tiles.piece_start).all()
    assert (pieces.piece_start == tiles.piece_start).all()
    assert (pieces.frame == tiles.frame[tiles.piece_tile]).all()
    assert set(pieces.frame) == {TEXT, 0, 1}


def test_means_and_owners_by_hand() -> None:
    x = np.array([[1.0, 10], [3, 20], [5, 60], [7, 80], [9, 100]])
    assert means(x, np.array([0, 2, 5])).tolist() == [[2, 15], [7, 80]]
    assert owner(np.array([0, 1, 2, 4, 5]), np.array([0, 2, 5])).tolist() == [0, 0, 1, 1]


def test_text_comes_first_in_tiles_of_its_own() -> None:
    tiles = make_tiles(Config(), (1, 4, 4), 21, 16)
    assert tiles.order[:21].tolist() == list(range(21))
    assert tiles.start.tolist() == [0, 16, 21, 37]
    assert tiles.frame.tolist() == [TEXT, TEXT, 0]


def test_quarters_of_a_tile_are_patches() -> None:
    tiles = make_tiles(Config(), (1, 8, 8), 0, 64)
    assert tiles.order[:16].tolist() == [8 * y + x for y in range(4) for x in range(4)]
    assert tiles.piece_start.tolist() == [0, 16, 32, 48, 64]
    assert tiles.order[:8].tolist() == [8 * y + x for y in range(2) for x in range(4)]
    assert tiles.cell_start.tolist() == list(range(0, 65, 8))


def test_frames_that_do_not_divide_give_smaller_tiles_at_their_edges() -> None:
    tiles = make_tiles(Config(), (1, 9, 9), 0, 16)
    assert np.diff(tiles.start).tolist() == [15, 12] * 3
