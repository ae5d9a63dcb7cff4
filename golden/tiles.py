"""The token order: frames are cut into spatial patches, so that a tile's tokens are of one frame and alike."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config

TEXT = -1
"""The frame of a tile of text tokens."""


@dataclasses.dataclass(frozen=True)
class Tiles:
    """An order of tokens, and the tiles, the pieces of tiles and the cells of pieces that it falls into."""

    order: NDArray[np.int64]
    """[places], the original index of the token at every place"""
    frame: NDArray[np.int64]
    """[tiles], the frame of every tile; TEXT for text tokens"""
    start: NDArray[np.int64]
    """[tiles + 1], first place of every tile"""
    piece_start: NDArray[np.int64]
    """[pieces + 1], first place of every piece"""
    cell_start: NDArray[np.int64]
    """[cells + 1], first place of every cell"""

    @property
    def piece_tile(self) -> NDArray[np.int64]:
        """[pieces], the tile of every piece."""
        return owner(self.piece_start, self.start)

    @property
    def cell_piece(self) -> NDArray[np.int64]:
        """[cells], the piece of every cell."""
        return owner(self.cell_start, self.piece_start)

    @property
    def pieces(self) -> Tiles:
        """The pieces as tiles of their own, for a closer look."""
        return Tiles(self.order, self.frame[self.piece_tile], self.piece_start, self.piece_start, self.cell_start)

    @property
    def tile_of(self) -> NDArray[np.int64]:
        """[tokens], the tile of every original token, if the order holds all."""
        tile = np.empty(len(self.order), np.int64)
        tile[self.order] = self.place_tile
        return tile

    @property
    def place_tile(self) -> NDArray[np.int64]:
        """[places], the tile of every place."""
        return np.repeat(np.arange(len(self.frame)), np.diff(self.start))


def owner(inner: NDArray[np.int64], outer: NDArray[np.int64]) -> NDArray[np.int64]:
    """The part between `outer` starts [parts + 1] that each part between `inner` starts lies in: [inner parts]."""
    return np.searchsorted(outer, inner[:-1], side="right") - 1


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


def make_tiles(config: Config, grid: tuple[int, int, int], text_tokens: int, most: int) -> Tiles:
    """Tiles of at most `most` tokens: text tokens first, then every frame (frames, height, width) patch by patch.

    At the right and bottom edge of a frame patches are cut off: their tiles are smaller. A patch is halved, along its
    longer side, into pieces of at most config.piece tokens, and these into cells of at most config.cell tokens; so
    pieces and cells are smaller patches.
    """
    frames, height, width = grid
    patches = [np.arange(i, min(i + most, text_tokens))[:, None] for i in range(0, text_tokens, most)]
    frame = [TEXT] * len(patches)
    if frames * height * width:
        rows, columns = patch(height, width, most)
        index = text_tokens + np.arange(frames * height * width).reshape(grid)
        for f in range(frames):
            for y in range(0, height, rows):
                for x in range(0, width, columns):
                    patches.append(index[f, y : y + rows, x : x + columns])
                    frame.append(f)
    pieces = [piece for tokens in patches for piece in _halves(tokens, config.piece)]
    cells = [cell for piece in pieces for cell in _halves(piece, config.cell)]
    return Tiles(
        order=np.concatenate([cell.reshape(-1) for cell in cells]),
        frame=np.array(frame),
        start=_starts(patches),
        piece_start=_starts(pieces),
        cell_start=_starts(cells),
    )


def _halves(tokens: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """A patch [height, width], halved until no part holds more than `most` tokens."""
    if tokens.size <= most:
        return [tokens]
    halves = np.array_split(tokens, 2, axis=int(np.argmax(tokens.shape)))
    return [part for half in halves for part in _halves(half, most)]


def _starts(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.cumsum([0, *(part.size for part in parts)])
