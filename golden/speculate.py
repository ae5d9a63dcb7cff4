"""Speculation: tiers are decided before the exact work, first for frames, then for pieces inside the ones that matter.

Scores are block-reduced: the mean query of a few rows meets the mean key of a few tokens (SIMPICKER, DAC 2025; whole
blocks in SpargeAttn, ICML 2025, "Selective token compression"). Frames are judged by the means of tiles, pieces by
those of their cells, for each query cell by itself: the softmax of a cell tells a few strong keys from many weak ones,
which that of a tile's mean cannot. With cells of 8 tokens both levels cost 0.8 % of the products of dense attention.

A frame or piece is ranked by the largest probability of a key that any of its means seems to get from any mean of the
query tile: see golden.estimate. Errors of keys and values are independent, so what a cheap tier costs is the square of
a probability, and a few large ones weigh more than many small ones of the same mass. There is one threshold for all
query tiles and heads of a layer: concentrated heads get more of the budget, diffuse ones less.

Memory: the means of all key cells, tokens / cell * head_dim, and of one query tile's cells; a number for each key piece
while a query tile's are chosen. The thresholds may come from the layer's last step: they move little between steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from golden.align import align
from golden.config import Config, Tier
from golden.estimate import estimate, unseen
from golden.formats import FORMATS
from golden.pool import Pooled, pool
from golden.prepare import Prepared, unit_power
from golden.tiles import TEXT, Tiles, owner

CHOICE_STEPS = 16
"""Comparisons of each piece while a threshold of 16 bits is bisected."""

MOST = np.iinfo(np.int64).max >> 1
"""A rank above all others."""

BATCH = 1 << 22
"""Scores of cells at a time, which bounds the memory."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a head's query tiles seem to look at. Ranks and scores have estimate_fraction_bits fraction bits."""

    tile_score: NDArray[np.int64]
    """[query_tiles, key_tiles], base-2 scores of tile means"""
    frame_rank: NDArray[np.int64]
    """[query_tiles, frames], of every frame that holds keys: log2 of the largest estimated probability of a key"""
    frames_kept: NDArray[np.bool_]
    """[query_tiles, frames], inside which pieces were judged"""
    rank: NDArray[np.int64]
    """[query_tiles, key_pieces], log2 of the largest estimated probability of a key; the least outside kept frames"""
    text: NDArray[np.bool_]
    """[key_pieces], pieces of text"""
    products: NDArray[np.int64]
    """[query_tiles, key_pieces], pairs of a row and a key"""
    dense: int
    """Pairs of dense attention, rows included that are not computed"""
    operations: int
    """Multiplications with their addition, and all other additions, comparisons and exponentials"""


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """The ranks from which on a piece is in a tier, with rising tiers."""

    lut8: int
    full: int

    def tiers(self, config: Config, estimate: Estimate) -> NDArray[np.int8]:
        """Tiers [query_tiles, key_pieces]. Text is at least LUT8."""
        top = estimate.text | (estimate.rank >= self.lut8)
        tiers = np.where(top, Tier.LUT8, Tier.LUT4).astype(np.int8)
        if config.digits > 2:
            tiers[top & (estimate.rank >= self.full)] = Tier.FULL
        return tiers


def speculate(config: Config, prepared: Prepared, rows: Tiles | None = None) -> Estimate:
    """What the query tiles of a prepared head, or others of its `rows`, seem to look at.

    Rows that are not finite count as zeros.
    """
    rows, columns = rows or prepared.query_tiles, prepared.key_tiles
    power = unit_power(config, prepared.key_statistics.exponent) + prepared.factor[1]
    scale = prepared.factor[0], power - FORMATS[config.float_format].bias - (config.query_bits - 2)
    query = align(config, prepared.operands.query[prepared.places(rows)])
    mantissa = np.where(query.invalid[:, None], 0, query.mantissa)
    exponent = np.where(query.invalid, 1, query.exponent)
    zeros = np.zeros(len(prepared.key_vector), np.int64)

    def pooled(query_start: NDArray[np.int64], key_start: NDArray[np.int64]) -> tuple[Pooled, Pooled]:
        return pool(config, mantissa, exponent, query_start), pool(config, prepared.key_vector, zeros, key_start)

    frames, frame_of = np.unique(columns.frame, return_inverse=True)
    tiles = estimate(config, *pooled(rows.start, columns.start), scale, np.flatnonzero(np.diff(frame_of, prepend=-1)))
    # The text, the first frame and the query tile's own frame are judged without a score.
    first = frames[frames != TEXT][:1]
    sure = np.isin(frames, [TEXT, *first])[None, :] | (frames[None, :] == rows.frame[:, None])
    frames_kept = sure | (tiles.rank >= frame_floor(config, len(prepared.key_vector)))

    inside = frames_kept[:, frame_of]
    rank = _ranks(config, *pooled(rows.cell_start, columns.cell_start), scale, rows, columns, inside)
    text = columns.pieces.frame == TEXT
    products = np.outer(np.diff(rows.start), np.diff(columns.piece_start))
    dense = len(prepared.operands.query) * len(prepared.key_vector)
    operations = _operations(rows, columns, config.head_dim, inside)
    return Estimate(tiles.score, tiles.rank, frames_kept, rank, text, products, dense, operations)


def frame_floor(config: Config, tokens: int) -> int:
    """The rank below which a frame is skipped: its keys have less than (1 - frame_mass) / tokens each.

    So all skipped frames together have less than 1 - frame_mass of the estimated mass.
    """
    if config.frame_mass == 1:
        return unseen(config)
    floor = math.log2((1 - config.frame_mass) / tokens) * (1 << config.estimate_fraction_bits)
    return max(unseen(config), math.floor(floor))


def _ranks(
    config: Config,
    query: Pooled,
    key: Pooled,
    scale: tuple[int, int],
    rows: Tiles,
    columns: Tiles,
    inside: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Ranks [query_tiles, key_pieces] by the means of cells, over the key tiles `inside` [query_tiles, key_tiles]."""
    tile_of, key_tile = owner(rows.cell_start, rows.start), owner(columns.cell_start, columns.start)
    pieces = np.searchsorted(columns.cell_start, columns.piece_start[:-1])
    first_cell = np.searchsorted(rows.cell_start, rows.start)
    found = np.empty((len(rows.frame), len(pieces)), np.int64)
    batch = max(1, BATCH * len(rows.frame) // (len(query.size) * len(key.size)))
    for tile in range(0, len(rows.frame), batch):
        some = first_cell[tile : tile + batch + 1]
        cells = slice(some[0], some[-1])
        part = Pooled(query.mantissa[cells], query.exponent[cells], query.size[cells])
        ranks = estimate(config, part, key, scale, pieces, inside[tile_of[cells]][:, key_tile]).rank
        found[tile : tile + batch] = np.maximum.reduceat(ranks, some[:-1] - some[0], axis=0)
    return found


def choose(config: Config, heads: Sequence[Estimate]) -> list[NDArray[np.int8]]:
    """Tiers [query_tiles, key_pieces] of the heads of a layer, which share one budget: see `thresholds`."""
    found = thresholds(config, heads)
    return [found.tiers(config, head) for head in heads]


def thresholds(config: Config, heads: Sequence[Estimate]) -> Thresholds:
    """The lowest thresholds at which no more than top_share, and full_share, of the products are chosen.

    Shares are of the dense attention of all heads: what reused rows save is there for others. Text counts, and comes
    first. No heads raise ValueError.
    """
    if not heads:
        raise ValueError("heads: must be at least one")
    rank = np.concatenate([np.where(h.text, MOST, h.rank).ravel() for h in heads])
    plain = np.concatenate([h.rank.ravel() for h in heads])
    products = np.concatenate([h.products.ravel() for h in heads])
    dense = sum(h.dense for h in heads)
    return Thresholds(
        _threshold(rank, products, config.top_share * dense), _threshold(plain, products, config.full_share * dense)
    )


def _threshold(rank: NDArray[np.int64], products: NDArray[np.int64], budget: float) -> int:
    """The lowest value so that those of `rank` at or above it have no more `products` than the budget."""
    order = np.argsort(-rank, kind="stable")
    fits = np.cumsum(products[order]) <= budget
    if fits.all():
        return int(rank.min())
    # Equal ranks are in or out together: the threshold is just above the first that does not fit.
    return int(rank[order[fits.sum()]]) + 1


def _operations(rows: Tiles, columns: Tiles, head_dim: int, inside: NDArray[np.bool_]) -> int:
    """What speculation computes: pooling, scores, softmax and sums of tiles and of cells, and the choice of pieces."""
    pooled = (rows.start[-1] + columns.start[-1]) * head_dim
    row_cells = np.bincount(owner(rows.cell_start, rows.start))
    column_cells = np.bincount(owner(columns.cell_start, columns.start))
    scores = inside.size + row_cells @ (inside @ column_cells)
    # A score is also compared, exponentiated, squared, weighed and summed; choosing bisects over all pieces.
    choice = len(rows.frame) * (len(columns.piece_start) - 1) * CHOICE_STEPS
    return int(pooled + scores * (head_dim + 5) + choice)
