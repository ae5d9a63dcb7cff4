"""Speculation: tiers are decided before the exact work, first for frames, then for pieces inside the ones that matter.

Scores are block-reduced: the mean query of a few rows meets the mean key of a few tokens (SIMPICKER, DAC 2025; whole
blocks in SpargeAttn, ICML 2025, "Selective token compression"). Frames are judged by the means of tiles, pieces by
those of their cells, for each query cell by itself: the softmax of a cell tells a few strong keys from many weak ones,
which that of a tile's mean cannot. With cells of 8 tokens both levels cost 0.8 % of the products of dense attention.

What a cheap tier costs is not the mass p that a key holds but p**2: errors of keys and values are independent, so their
squares add up, and many keys of little mass average theirs out. Pieces are ranked by the p**2 that they hold, with
one threshold for all query tiles and heads of a layer: concentrated heads get more of the budget, diffuse ones less.

Memory: the means of all key cells, tokens / cell * head_dim, and of one query tile's cells; a number for each key piece
while a query tile's are chosen. The threshold may come from the layer's last step: it moves little between steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from golden.config import Config, Tier
from golden.prepare import Prepared
from golden.tiles import TEXT, Tiles, means, owner

PREVIOUS_WEIGHT = 0.5
"""What the concentration measured in the previous step counts, where it is given."""

CHOICE_STEPS = 16
"""Comparisons of each piece while a threshold of 16 bits is bisected."""

BATCH = 1 << 22
"""Scores of cells at a time, which bounds the memory."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a head's query tiles seem to look at."""

    tile_score: NDArray[np.float64]
    """[query_tiles, key_tiles], base-2 scores of tile means"""
    frame_mass: NDArray[np.float64]
    """[query_tiles, frames], estimated softmax mass of every frame that holds keys"""
    frames_kept: NDArray[np.bool_]
    """[query_tiles, frames], inside which pieces were judged"""
    concentration: NDArray[np.float64]
    """[query_tiles, key_pieces], mean over rows and keys of the estimated p**2 in kept frames, 0 elsewhere"""
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
    """The concentrations from which on a piece is in a tier, with rising tiers."""

    lut8: float
    full: float

    def tiers(self, config: Config, estimate: Estimate) -> NDArray[np.int8]:
        """Tiers [query_tiles, key_pieces]. Text is at least LUT8."""
        top = estimate.text | (estimate.concentration >= self.lut8)
        tiers = np.where(top, Tier.LUT8, Tier.LUT4).astype(np.int8)
        if config.digits > 2:
            tiers[top & (estimate.concentration >= self.full)] = Tier.FULL
        return tiers


def speculate(
    config: Config, prepared: Prepared, rows: Tiles | None = None, previous: NDArray[np.float64] | None = None
) -> Estimate:
    """What the query tiles of a prepared head, or others of its `rows`, seem to look at.

    `previous` [query_tiles, key_pieces] is the concentration that the step of diffusion before this one measured,
    where that is known: see golden.oracle.concentration. Rows that are not finite count as zeros.
    """
    rows, columns = rows or prepared.query_tiles, prepared.key_tiles
    query = prepared.finite_rows_of(rows)

    tile_score = means(query, rows.start) @ means(prepared.key, columns.start).T
    frames, frame_of = np.unique(columns.frame, return_inverse=True)
    frame_mass = _mass(tile_score, np.diff(columns.start)) @ np.eye(len(frames))[frame_of]
    # The text, the first frame and the query tile's own frame are judged without a score.
    first = frames[frames != TEXT][:1]
    sure = np.isin(frames, [TEXT, *first])[None, :] | (frames[None, :] == rows.frame[:, None])
    # All of the mass means all frames, though the heaviest may add up to 1 before the last is there.
    frames_kept = sure | _leading(frame_mass, config.frame_mass) | (config.frame_mass == 1)

    inside = frames_kept[:, frame_of]
    concentration = _concentration(rows, columns, query, prepared.key, inside)
    if previous is not None:
        concentration = (1 - PREVIOUS_WEIGHT) * concentration + PREVIOUS_WEIGHT * previous

    text = columns.frame[columns.piece_tile] == TEXT
    products = np.outer(np.diff(rows.start), np.diff(columns.piece_start))
    dense = len(prepared.query) * len(prepared.key)
    operations = _operations(rows, columns, query.shape[1], inside)
    return Estimate(tile_score, frame_mass, frames_kept, concentration, text, products, dense, operations)


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
    rank = np.concatenate([np.where(h.text, np.inf, h.concentration).ravel() for h in heads])
    plain = np.concatenate([h.concentration.ravel() for h in heads])
    products = np.concatenate([h.products.ravel() for h in heads])
    dense = sum(h.dense for h in heads)
    return Thresholds(
        _threshold(rank, products, config.top_share * dense), _threshold(plain, products, config.full_share * dense)
    )


def _threshold(rank: NDArray[np.float64], products: NDArray[np.int64], budget: float) -> float:
    """The lowest value so that those of `rank` at or above it have no more `products` than the budget."""
    order = np.argsort(-rank, kind="stable")
    fits = np.cumsum(products[order]) <= budget
    if fits.all():
        return 0.0
    # Equal ranks are in or out together: the threshold is just above the first that does not fit.
    return float(np.nextafter(rank[order[fits.sum()]], np.inf))


def _concentration(
    rows: Tiles, columns: Tiles, query: NDArray[np.float64], key: NDArray[np.float64], inside: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean p**2 [query_tiles, key_pieces] by the means of cells, over the key tiles `inside` [query_tiles, key_tiles].

    A cell's mass is taken as spread evenly over its keys. Each query cell counts as many times as it has rows.
    """
    query_cells, key_cells = means(query, rows.cell_start), means(key, columns.cell_start)
    tile_of, key_tile = owner(rows.cell_start, rows.start), owner(columns.cell_start, columns.start)
    weight = np.diff(rows.cell_start) / np.diff(rows.start)[tile_of]
    sizes, pieces = np.diff(columns.cell_start), np.searchsorted(columns.cell_start, columns.piece_start[:-1])
    first_cell = np.searchsorted(rows.cell_start, rows.start)
    found = np.empty((len(rows.frame), len(pieces)))
    batch = max(1, BATCH * len(rows.frame) // (len(query_cells) * len(key_cells)))
    for tile in range(0, len(rows.frame), batch):
        some = first_cell[tile : tile + batch + 1]
        cells = slice(some[0], some[-1])
        score = np.where(inside[tile_of[cells]][:, key_tile], query_cells[cells] @ key_cells.T, -np.inf)
        squares = _mass(score, sizes) ** 2 / sizes * weight[cells, None]
        squares = np.add.reduceat(squares, pieces, axis=1) / np.diff(columns.piece_start)
        found[tile : tile + batch] = np.add.reduceat(squares, some[:-1] - some[0], axis=0)
    return found


def _mass(score: NDArray[np.float64], sizes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Base-2 softmax of scores [rows, columns], where a column stands for sizes [columns] keys of that score."""
    mass = np.exp2(score - score.max(axis=1, keepdims=True)) * sizes
    return mass / mass.sum(axis=1, keepdims=True)


def _leading(mass: NDArray[np.float64], wanted: float) -> NDArray[np.bool_]:
    """Per row of mass [rows, columns] the heaviest columns, until they hold `wanted`."""
    order = np.argsort(-mass, axis=1, kind="stable")
    ranked = np.take_along_axis(mass, order, axis=1)
    leading = np.empty(mass.shape, bool)
    np.put_along_axis(leading, order, np.cumsum(ranked, axis=1) - ranked < wanted, axis=1)
    return leading


def _operations(rows: Tiles, columns: Tiles, head_dim: int, inside: NDArray[np.bool_]) -> int:
    """What speculation computes: pooling, scores, softmax and sums of tiles and of cells, and the choice of pieces."""
    pooled = (rows.start[-1] + columns.start[-1]) * head_dim
    of_tile = np.diff(np.searchsorted(columns.cell_start, columns.start))  # cells
    cells = np.diff(np.searchsorted(rows.cell_start, rows.start)) @ (inside @ of_tile)
    scores = inside.size + cells
    # A score is also compared, exponentiated, squared, weighed and summed; choosing bisects over all pieces.
    choice = len(rows.frame) * (len(columns.piece_start) - 1) * CHOICE_STEPS
    return int(pooled + scores * (head_dim + 5) + choice)
