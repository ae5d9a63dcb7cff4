"""Speculation: tiers are decided before the exact work, first for frames, then for tiles inside the ones that matter.

Scores are block-reduced: the mean query of a few rows meets the mean key of a few tokens (SIMPICKER, DAC 2025; whole
blocks in SpargeAttn, ICML 2025, "Selective token compression"). Frames are judged by tile means, tiles by the means of
their quarters, which tell a tile with a few strong keys from one of many weak ones. Both levels together cost at most
(1 + 4 * 4) / (query_rows * tile) of the score products: 0.4 % at 64 and 64.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config, Tier
from golden.prepare import Prepared
from golden.tiles import TEXT

FRAME_MASS = 0.97
"""Estimated mass of the frames inside which tiles are judged; below it temporal heads lose frames they need."""

FULL_PART = 3
"""One in so many top tiles, the best and at least one, is FULL where that is more exact than LUT8."""


@dataclasses.dataclass(frozen=True)
class Speculation:
    """Tiers and how they came about."""

    tile_score: NDArray[np.float64]
    """[query_tiles, key_tiles], base-2 scores of tile means"""
    frame_mass: NDArray[np.float64]
    """[query_tiles, frames], estimated softmax mass of every frame that holds keys"""
    frames_kept: NDArray[np.bool_]
    """[query_tiles, frames], inside which tiles were judged"""
    estimate: NDArray[np.float64]
    """[query_tiles, key_tiles], estimated softmax mass of the tiles in kept frames, 0 elsewhere; rows sum to 1"""
    always: NDArray[np.bool_]
    """[query_tiles, key_tiles], tiles of text and those that share tokens with the query tile"""
    tiers: NDArray[np.int8]
    """[query_tiles, key_tiles]"""


def speculate(config: Config, prepared: Prepared) -> Speculation:
    """Tiers of every block of a prepared head.

    A query tile's top tiles are the fewest that hold `top_mass` of its estimated softmax mass, but at least
    `top_floor` and at most `top_cap` of all key tiles, rounded down, and never less than one. Text tiles and the
    query tile's own tokens come first, whatever their estimate; the cap counts them and yields to them. Top tiles
    are LUT8, a third of them FULL where config.digits > 2; the rest is LUT4.
    """
    rows, columns = prepared.query_tiles, prepared.key_tiles
    finite = np.where(np.isfinite(prepared.query).all(axis=1, keepdims=True), prepared.query, 0)
    tile_score = _means(finite, rows.start) @ _means(prepared.key, columns.start).T
    sizes = np.diff(columns.start).astype(np.float64)

    frames, frame_of = np.unique(columns.frame, return_inverse=True)
    frame_mass = _mass(tile_score, sizes) @ np.eye(len(frames))[frame_of]
    # The text, the first frame and the query tile's own frame are judged without a score.
    first = frames[frames != TEXT][:1]
    sure = np.isin(frames, [TEXT, *first])[None, :] | (frames[None, :] == rows.frame[:, None])
    frames_kept = _leading(frame_mass, sure, FRAME_MASS, 0, len(frames))
    inside = frames_kept[:, frame_of]

    pieces = _means(finite, rows.piece_start) @ _means(prepared.key, columns.piece_start).T
    piece_inside = inside[rows.piece_tile][:, columns.piece_tile]
    mass = _mass(np.where(piece_inside, pieces, -np.inf), np.diff(columns.piece_start).astype(np.float64))
    mass = np.add.reduceat(mass, np.searchsorted(columns.piece_tile, np.arange(len(sizes))), axis=1)
    weight = np.diff(rows.piece_start) / np.diff(rows.start)[rows.piece_tile]
    estimate = np.add.reduceat(
        mass * weight[:, None], np.searchsorted(rows.piece_tile, np.arange(len(rows.frame))), axis=0
    )

    own = np.zeros(tile_score.shape, bool)
    own[rows.tile_of, columns.tile_of] = True
    always = own | (columns.frame == TEXT)[None, :]
    floor, cap = (max(1, int(share * len(sizes))) for share in (config.top_floor, config.top_cap))
    top = _leading(estimate, always, config.top_mass, floor, cap)
    tiers = np.where(top, Tier.LUT8, Tier.LUT4).astype(np.int8)
    if config.digits > 2:
        ranked = np.where(top, estimate, -1)
        rank = np.argsort(-ranked, axis=1, kind="stable").argsort(axis=1)
        best = rank < np.maximum(1, top.sum(axis=1, keepdims=True) // FULL_PART)
        tiers[top & best] = Tier.FULL
    return Speculation(tile_score, frame_mass, frames_kept, estimate, always, tiers)


def _means(x: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means [parts, head_dim] of the rows of x between successive starts [parts + 1]."""
    return np.add.reduceat(x, start[:-1], axis=0) / np.diff(start)[:, None]


def _mass(score: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Base-2 softmax of scores [rows, columns], where a column stands for sizes [columns] keys of that score."""
    mass = np.exp2(score - score.max(axis=1, keepdims=True)) * sizes
    return mass / mass.sum(axis=1, keepdims=True)


def _leading(
    mass: NDArray[np.float64], always: NDArray[np.bool_], wanted: float, floor: int, cap: int
) -> NDArray[np.bool_]:
    """Per row the columns in `always`, then the heaviest, until they hold `wanted` of the mass; floor..cap of them."""
    order = np.lexsort((-mass, ~always), axis=1)
    before = np.cumsum(np.take_along_axis(mass, order, axis=1), axis=1) - np.take_along_axis(mass, order, axis=1)
    count = np.clip((before < wanted).sum(axis=1), floor, cap)
    leading = np.zeros(mass.shape, bool)
    np.put_along_axis(leading, order, np.arange(mass.shape[1])[None, :] < count[:, None], axis=1)
    return leading | always
