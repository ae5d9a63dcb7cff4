"""The token order: frames are cut into spatial patches, so that the tokens of a tile, a piece or a cell are alike."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config

TEXT = -1
"""The frame of text tokens."""


@dataclasses.dataclass(frozen=True)
class Tiles:
    """An order of tokens, cut into tiles, into pieces and into cells.

    All are full but for the last one, as long as all tokens are there; tiles that lack some are joined as a whole.
    """

    order: NDArray[np.int64]
    """[places], the original index of the token at every place"""
    place_frame: NDArray[np.int64]
    """[places], its frame; TEXT for text tokens"""
    place_cell: NDArray[np.int64]
    """[places], the cell that it was put in: as many as there are tokens, less where some were left out"""
    start: NDArray[np.int64]
    """[tiles + 1], first place of every tile"""
    piece: int
    """Tokens of a piece"""

    @property
    def piece_start(self) -> NDArray[np.int64]:
        """[pieces + 1], first place of every piece."""
        return starts(len(self.order), self.piece)

    @property
    def cell_start(self) -> NDArray[np.int64]:
        """[cells + 1], first place of every cell: a tile ends a cell."""
        ends = np.diff(self.place_cell) != 0
        ends[self.start[1:-1] - 1] = True
        return np.concatenate([[0], np.flatnonzero(ends) + 1, [len(self.order)]])

    @property
    def frame(self) -> NDArray[np.int64]:
        """[tiles], the frame of a tile's first token; TEXT for text tokens."""
        return self.place_frame[self.start[:-1]]

    @property
    def piece_tile(self) -> NDArray[np.int64]:
        """[pieces], the tile of every piece."""
        return owner(self.piece_start, self.start)

    @property
    def pieces(self) -> Tiles:
        """The pieces as tiles of their own, for a closer look."""
        return dataclasses.replace(self, start=self.piece_start)

    @property
    def tile_of(self) -> NDArray[np.int64]:
        """[tokens], the tile of every original token, if the order holds all."""
        tile = np.empty(len(self.order), np.int64)
        tile[self.order] = np.repeat(np.arange(len(self.frame)), np.diff(self.start))
        return tile


def owner(inner: NDArray[np.int64], outer: NDArray[np.int64]) -> NDArray[np.int64]:
    """The part between `outer` starts [parts + 1] that each part between `inner` starts begins in: [inner parts]."""
    return np.searchsorted(outer, inner[:-1], side="right") - 1


def starts(places: int, size: int) -> NDArray[np.int64]:
    """[parts + 1], first places of parts of a size; the last one may be smaller."""
    return np.append(np.arange(0, places, size), places)


def means(x: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means [parts, ...] of the rows of x [places, ...] between successive starts [parts + 1]."""
    return np.add.reduceat(x, start[:-1], axis=0) / np.diff(start).reshape(-1, *[1] * (x.ndim - 1))


def patch(height: int, width: int, most: int) -> tuple[int, int]:
    """Height and width of the patches of at most `most` tokens that a frame is cut into.

    The shortest total edge wins: patches few and close to squares; among equals the largest patch, then the squarest.
    """

    def cost(size: tuple[int, int]) -> tuple[int, ...]:
        h, w = size
        return height * -(-width // w) + width * -(-height // h), -h * w, abs(h - w), h

    return min(((h, w) for h in range(1, min(height, most) + 1) for w in range(1, min(width, most // h) + 1)), key=cost)


def make_tiles(config: Config, grid: tuple[int, int, int], text_tokens: int, size: int) -> Tiles:
    """Tiles of `size` tokens: text tokens first, then every frame (frames, height, width) patch by patch.

    A patch has at most config.tile tokens; at the right and bottom edge of a frame patches are cut off. It is halved
    along its longer side, and its halves again, until no part holds more than config.cell tokens, which follow each
    other: so the parts of a tile are smaller patches.
    """
    frames, height, width = grid
    order, frame = [np.arange(text_tokens)], [np.full(text_tokens, TEXT)]
    if frames * height * width:
        rows, columns = patch(height, width, config.tile)
        index = np.arange(height * width).reshape(height, width)
        cut = [index[y : y + rows, x : x + columns] for y in range(0, height, rows) for x in range(0, width, columns)]
        inside = np.concatenate([part.reshape(-1) for each in cut for part in _halves(each, config.cell)])
        for f in range(frames):
            order.append(text_tokens + f * height * width + inside)
            frame.append(np.full(height * width, f))
    places = np.concatenate(order)
    cell = np.arange(len(places)) // config.cell
    return Tiles(places, np.concatenate(frame), cell, starts(len(places), size), config.piece)


def _halves(tokens: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """A patch [height, width], halved until no part holds more than `most` tokens."""
    if tokens.size <= most:
        return [tokens]
    halves = np.array_split(tokens, 2, axis=int(np.argmax(tokens.shape)))
    return [part for half in halves for part in _halves(half, most)]
