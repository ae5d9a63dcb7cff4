"""The token order: frames are cut into spatial patches, so that a tile's tokens are of one frame and alike."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

TEXT = -1
"""The frame of a tile of text tokens."""


@dataclasses.dataclass(frozen=True)
class Tiles:
    """A permutation of the tokens, the tiles that it falls into, and the pieces (quarters) of the tiles."""

    order: NDArray[np.int64]
    """[tokens], the original index of the token at every place"""
    start: NDArray[np.int64]
    """[tiles + 1], first place of every tile"""
    frame: NDArray[np.int64]
    """[tiles], the frame of every tile; TEXT for text tokens"""
    piece_start: NDArray[np.int64]
    """[pieces + 1], first place of every piece; a tile has one to four"""
    piece_tile: NDArray[np.int64]
    """[pieces], the tile of every piece"""

    @property
    def pieces(self) -> Tiles:
        """The pieces as tiles of their own, for a closer look."""
        indices = np.arange(len(self.piece_tile))
        return Tiles(self.order, self.piece_start, self.frame[self.piece_tile], self.piece_start, indices)

    @property
    def tile_of(self) -> NDArray[np.int64]:
        """[tokens], the tile of every original token."""
        tile = np.empty(len(self.order), np.int64)
        tile[self.order] = np.repeat(np.arange(len(self.frame)), np.diff(self.start))
        return tile


def patch(height: int, width: int, most: int) -> tuple[int, int]:
    """Height and width of the patches of at most `most` tokens that a frame is cut into.

    The shortest total edge wins: patches few and close to squares; among equals the largest patch, then the squarest.
    """

    def cost(size: tuple[int, int]) -> tuple[int, ...]:
        h, w = size
        return height * -(-width // w) + width * -(-height // h), -h * w, abs(h - w), h

    return min(((h, w) for h in range(1, min(height, most) + 1) for w in range(1, min(width, most // h) + 1)), key=cost)


def make_tiles(grid: tuple[int, int, int], text_tokens: int, most: int) -> Tiles:
    """Tiles of at most `most` tokens: text tokens first, then every frame (frames, height, width) patch by patch.

    At the right and bottom edge of a frame patches are cut off: their tiles are smaller. Inside a tile the tokens
    go quarter by quarter, each row by row, so that a piece is a smaller patch.
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
    pieces = [(tile, piece) for tile, tokens in enumerate(patches) for piece in _quarters(tokens)]
    return Tiles(
        order=np.concatenate([piece for _, piece in pieces]),
        start=np.cumsum([0, *(tokens.size for tokens in patches)]),
        frame=np.array(frame),
        piece_start=np.cumsum([0, *(len(piece) for _, piece in pieces)]),
        piece_tile=np.array([tile for tile, _ in pieces]),
    )


def _quarters(tokens: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The quarters of a patch [height, width], 2 x 2, or 4 x 1 of a single column; empty ones left out."""
    bands = np.array_split(tokens, 2 if tokens.shape[1] > 1 else 4)
    quarters = [part.reshape(-1) for band in bands for part in np.array_split(band, min(2, tokens.shape[1]), axis=1)]
    return [quarter for quarter in quarters if quarter.size]
