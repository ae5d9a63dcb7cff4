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


def halves(tokens: list[list[int]], most: int) -> list[list[int]]:
    """Tokens of the parts of a patch, given as its rows, halved along the longer side as long as one is too large."""
    height, width = len(tokens), len(tokens[0])
    if height * width <= most:
        return [[token for row in tokens for token in row]]
    if height >= width:
        half = (height + 1) // 2
        parts = [tokens[:half], tokens[half:]]
    else:
        half = (width + 1) // 2
        parts = [[row[:half] for row in tokens], [row[half:] for row in tokens]]
    return [found for part in parts for found in halves(part, most)]


def order_by_hand(config: Config, grid: tuple[int, int, int], text: int) -> tuple[list[int], list[int]]:
    """Tokens in order, and their frames."""
    frames, height, width = grid
    order, frame = list(range(text)), [TEXT] * text
    if not height * width:
        return order, frame
    high, wide = patch(height, width, config.tile)
    for f in range(frames):
        for y in range(0, height, high):
            for x in range(0, width, wide):
                rows = [
                    [text + (f * height + row) * width + column for column in range(x, min(x + wide, width))]
                    for row in range(y, min(y + high, height))
                ]
                found = [token for part in halves(rows, config.cell) for token in part]
                order += found
                frame += [f] * len(found)
    return order, frame


CONFIGS = st.builds(
    lambda cell, pieces, tiles, rows: Config(
        lanes=2,
        cell=cell,
        piece=cell * pieces,
        tile=cell * pieces * tiles,
        query_rows=cell * rows,
    ),
    st.integers(1, 8),
    st.integers(2, 4),
    st.sampled_from([2, 4]),
    st.integers(2, 6),
)


@given(CONFIGS, st.integers(0, 3), st.integers(1, 13), st.integers(1, 13), st.integers(0, 40), st.booleans())
def test_tiles_pieces_and_cells_are_runs_of_one_order(
    config: Config, frames: int, height: int, width: int, text: int, keys: bool
) -> None:
    grid = (frames, height, width)
    order, frame = order_by_hand(config, grid, text)
    if not order:
        return
    size = config.tile if keys else config.query_rows
    tiles = make_tiles(config, grid, text, size)
    assert tiles.order.tolist() == order
    assert sorted(order) == list(range(len(order)))
    assert tiles.place_frame.tolist() == frame
    assert tiles.place_cell.tolist() == [place // config.cell for place in range(len(order))]
    for start, each in ((tiles.start, size), (tiles.piece_start, config.piece), (tiles.cell_start, config.cell)):
        assert start.tolist() == [*range(0, len(order), each), len(order)]
    assert tiles.frame.tolist() == [frame[place] for place in tiles.start[:-1]]
    assert tiles.tile_of[order].tolist() == [place // size for place in range(len(order))]
    if keys:
        assert tiles.piece_tile.tolist() == [place // size for place in tiles.piece_start[:-1]]


@given(CONFIGS, st.integers(1, 3), st.integers(1, 3))
def test_tiles_are_patches_where_these_divide_their_frames(config: Config, down: int, across: int) -> None:
    high, wide = patch(64, 64, config.tile)
    height, width = high * down, wide * across
    if patch(height, width, config.tile) != (high, wide) or high * wide != config.tile:
        return
    tiles = make_tiles(config, (2, height, width), 0, config.tile)
    for start, stop in pairwise(tiles.start):
        rows, columns = tiles.order[start:stop] // width % height, tiles.order[start:stop] % width
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (high, wide)


def test_pieces_are_tiles_for_a_closer_look() -> None:
    tiles = make_tiles(Config(), (2, 8, 12), 21, 64)
    pieces = tiles.pieces
    assert isinstance(pieces, Tiles)
    assert (pieces.start == tiles.piece_start).all()
    assert (pieces.piece_start == tiles.piece_start).all()
    # A tile or piece is of the frame of its first token: 21 tokens of text are two pieces, and a part of one.
    assert pieces.frame.tolist() == [TEXT, TEXT] + [0] * 6 + [1] * 6
    assert tiles.frame.tolist() == [TEXT, 0, 1, 1]


def test_a_cell_ends_with_its_tile_and_with_the_tokens_that_are_left() -> None:
    left = Tiles(np.arange(7), np.zeros(7, np.int64), np.array([0, 0, 2, 2, 2, 3, 3]), np.array([0, 4, 7]), 4)
    assert left.cell_start.tolist() == [0, 2, 4, 5, 7]
    assert left.piece_start.tolist() == [0, 4, 7]


def test_means_and_owners_by_hand() -> None:
    x = np.array([[1.0, 10], [3, 20], [5, 60], [7, 80], [9, 100]])
    assert means(x, np.array([0, 2, 5])).tolist() == [[2, 15], [7, 80]]
    assert owner(np.array([0, 1, 2, 4, 5]), np.array([0, 2, 5])).tolist() == [0, 0, 1, 1]


def test_text_comes_first_and_what_follows_fills_its_last_tile() -> None:
    tiles = make_tiles(Config(), (1, 4, 4), 21, 16)
    assert tiles.order[:21].tolist() == list(range(21))
    assert tiles.start.tolist() == [0, 16, 32, 37]
    assert tiles.frame.tolist() == [TEXT, TEXT, 0]


def test_quarters_of_a_tile_are_patches() -> None:
    tiles = make_tiles(Config(), (1, 8, 8), 0, 64)
    assert tiles.order[:16].tolist() == [8 * y + x for y in range(4) for x in range(4)]
    assert tiles.piece_start.tolist() == [0, 16, 32, 48, 64]
    assert tiles.order[:8].tolist() == [8 * y + x for y in range(2) for x in range(4)]
    assert tiles.cell_start.tolist() == list(range(0, 65, 8))


def test_frames_that_do_not_divide_leave_full_tiles_that_span_them() -> None:
    tiles = make_tiles(Config(), (2, 9, 9), 0, 16)
    assert np.diff(tiles.start).tolist() == [16] * 10 + [2]
    assert tiles.frame.tolist() == [0] * 6 + [1] * 5  # the sixth has the last token of frame 0, and 15 of frame 1
