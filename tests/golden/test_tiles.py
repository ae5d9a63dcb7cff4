from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.tiles import TEXT, make_tiles, patch


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
    tiles = make_tiles((frames, height, width), text, most)
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


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.integers(2, 20))
def test_pieces_partition_the_tiles(height: int, width: int, text: int, most: int) -> None:
    tiles = make_tiles((2, height, width), text, most)
    assert set(tiles.start) <= set(tiles.piece_start)
    assert np.diff(tiles.piece_start).min() >= 1
    assert (np.searchsorted(tiles.start, tiles.piece_start[:-1], side="right") - 1 == tiles.piece_tile).all()
    assert np.bincount(tiles.piece_tile).max() <= 4


def test_text_comes_first_in_tiles_of_its_own() -> None:
    tiles = make_tiles((1, 4, 4), 21, 16)
    assert tiles.order[:21].tolist() == list(range(21))
    assert tiles.start.tolist() == [0, 16, 21, 37]
    assert tiles.frame.tolist() == [TEXT, TEXT, 0]


def test_quarters_of_a_tile_are_patches() -> None:
    tiles = make_tiles((1, 8, 8), 0, 64)
    assert tiles.order[:16].tolist() == [8 * y + x for y in range(4) for x in range(4)]
    assert tiles.piece_start.tolist() == [0, 16, 32, 48, 64]


def test_frames_that_do_not_divide_give_smaller_tiles_at_their_edges() -> None:
    tiles = make_tiles((1, 9, 9), 0, 16)
    assert np.diff(tiles.start).tolist() == [15, 12] * 3
