"""Matching and speculation in PyTorch: what golden.match, group.compact and speculate define, written again.

Scores and distances may differ from golden's in the last bit, so the choices can differ only where two pieces, or a
row and the threshold, are equal but for that bit: between rows of zeros, say, which weigh all keys alike.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config, Tier
from golden.tiles import TEXT, Tiles, owner
from scripts.torch_prepare import Tensor, torch

SCORES = 1 << 22
"""Scores of cells at a time, which bounds the memory."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a head's query tiles seem to look at."""

    concentration: Tensor
    """[query_tiles, key_pieces], mean of the estimated p**2"""
    text: Tensor
    """[key_pieces], which are in the top tiers whatever they hold"""
    products: Tensor
    """[query_tiles, key_pieces], pairs of a row and a key"""
    dense: int
    """Pairs of dense attention, those of reused rows included"""


def match(config: Config, query: Tensor, tiles: Tiles, grid: tuple[int, int, int], text_tokens: int) -> Tensor:
    """References [heads, tokens], the token whose result a token takes, in original order.

    `query` is [heads, rows, channels] in the order of `tiles`. A row that is not finite has no distance below any.
    """
    heads, tokens, _ = query.shape
    reference = torch.arange(tokens, device=query.device).repeat(heads, 1)
    frames, size = grid[0], grid[1] * grid[2]
    if not config.reuse_distance:
        return reference
    place = np.empty(tokens, np.int64)
    place[tiles.order] = np.arange(tokens)
    rows = query[:, torch.as_tensor(place, device=query.device)]
    for start in range(text_tokens + size, text_tokens + frames * size, size):
        last = reference[:, start - size : start]
        here = rows[:, start : start + size]
        there = rows.gather(1, last[..., None].expand_as(here))
        norm = here.norm(dim=2)
        near = (norm > 0) & ((here - there).norm(dim=2) / norm < config.reuse_distance)
        reference[:, start : start + size] = torch.where(near, last, reference[:, start : start + size])
    return reference


def compact(config: Config, tiles: Tiles, computed: NDArray[np.bool_]) -> Tiles:
    """The tiles of the computed rows [tokens]: neighbours of a frame within a window joined while they fit."""
    keep = computed[tiles.order]
    if keep.all():
        return tiles
    left = np.bincount(tiles.place_tile[keep], minlength=len(tiles.frame))
    joined: list[list[int]] = []
    for tile in np.flatnonzero(left).tolist():
        group = joined[-1] if joined else [tile]
        alike = tiles.frame[group[0]] == tiles.frame[tile] and tile - group[0] < config.group_window
        if joined and alike and left[group].sum() + left[tile] <= config.query_rows:
            group.append(tile)
        else:
            joined.append([tile])

    def starts(old: NDArray[np.int64]) -> NDArray[np.int64]:
        sizes = np.bincount(np.searchsorted(old, np.flatnonzero(keep), side="right") - 1)
        return np.concatenate([[0], np.cumsum(sizes[sizes > 0])])

    start = np.cumsum([0, *(left[group].sum() for group in joined)])
    frame = tiles.frame[[group[0] for group in joined]]
    return Tiles(tiles.order[keep], frame, start, starts(tiles.piece_start), starts(tiles.cell_start))


def totals(x: Tensor, start: NDArray[np.int64], dim: int) -> Tensor:
    """Sums of x between successive starts [parts + 1] of a dimension; in one order, so alike on every run."""
    sizes = np.diff(start)
    index = start[:-1, None] + np.arange(sizes.max())
    real = torch.as_tensor(index < start[1:, None], device=x.device)
    index = torch.as_tensor(np.minimum(index, start[-1] - 1), device=x.device)
    parts = x.index_select(dim, index.reshape(-1)).unflatten(dim, index.shape)
    real = real.reshape(*index.shape, *[1] * (x.ndim - 1 - dim))
    return torch.where(real, parts, 0).sum(dim=dim + 1)


def means(x: Tensor, start: NDArray[np.int64]) -> Tensor:
    """Means [parts, channels] of the rows of x between successive starts."""
    return totals(x, start, 0) / torch.as_tensor(np.diff(start), device=x.device)[:, None]


def mass(score: Tensor, sizes: Tensor) -> Tensor:
    """Base-2 softmax of scores [rows, columns], where a column stands for sizes [columns] keys."""
    found = torch.exp2(score - score.amax(dim=1, keepdim=True)) * sizes
    return found / found.sum(dim=1, keepdim=True)


def speculate(config: Config, query: Tensor, key: Tensor, rows: Tiles, columns: Tiles) -> Estimate:
    """What the query tiles of `rows` seem to look at; query [rows, channels] and key [tokens, channels] of one head."""
    device = query.device

    def tensor(x: NDArray[np.generic]) -> Tensor:
        return torch.as_tensor(x, device=device)

    query = torch.where(torch.isfinite(query).all(dim=1, keepdim=True), query, 0)
    score = means(query, rows.start) @ means(key, columns.start).mT
    frames, frame_of = np.unique(columns.frame, return_inverse=True)
    one_hot = tensor(np.eye(len(frames))[frame_of])
    frame_mass = mass(score, tensor(np.diff(columns.start))) @ one_hot
    first = frames[frames != TEXT][:1]
    sure = np.isin(frames, [TEXT, *first])[None, :] | (frames[None, :] == rows.frame[:, None])
    ranked, order = torch.sort(frame_mass, dim=1, descending=True, stable=True)
    leading = torch.zeros_like(order, dtype=torch.bool)
    # With all of the mass wanted all frames lead, though the heaviest may add up to 1 before the last is there.
    leading.scatter_(1, order, (ranked.cumsum(dim=1) - ranked < config.frame_mass) | (config.frame_mass == 1))
    inside = (tensor(sure) | leading)[:, tensor(frame_of)]

    return Estimate(
        concentration=_concentration(query, key, rows, columns, inside),
        text=tensor(columns.frame[columns.piece_tile] == TEXT),
        products=tensor(np.outer(np.diff(rows.start), np.diff(columns.piece_start))),
        dense=len(key) ** 2,
    )


def _concentration(query: Tensor, key: Tensor, rows: Tiles, columns: Tiles, inside: Tensor) -> Tensor:
    """Mean p**2 [query_tiles, key_pieces] by the means of cells, over the key tiles `inside`."""
    device = query.device
    query_cells, key_cells = means(query, rows.cell_start), means(key, columns.cell_start)
    cell_tile = owner(rows.cell_start, rows.start)
    weight = torch.as_tensor(np.diff(rows.cell_start) / np.diff(rows.start)[cell_tile], device=device)
    sizes = torch.as_tensor(np.diff(columns.cell_start), device=device)
    key_tile = torch.as_tensor(owner(columns.cell_start, columns.start), device=device)
    first_cell = np.searchsorted(rows.cell_start, rows.start)
    pieces = np.searchsorted(columns.cell_start, columns.piece_start)
    piece_sizes = torch.as_tensor(np.diff(columns.piece_start), device=device)
    found = []
    batch = max(1, SCORES * len(rows.frame) // (len(query_cells) * len(key_cells)))
    for tile in range(0, len(rows.frame), batch):
        some = first_cell[tile : tile + batch + 1]
        cells = slice(int(some[0]), int(some[-1]))
        seen = inside[torch.as_tensor(cell_tile[cells], device=device)][:, key_tile]
        score = torch.where(seen, query_cells[cells] @ key_cells.mT, -torch.inf)
        squares = mass(score, sizes) ** 2 / sizes * weight[cells, None]
        found.append(totals(totals(squares, pieces, 1) / piece_sizes, some - some[0], 0))
    return torch.cat(found)


def choose(config: Config, heads: list[Estimate]) -> list[Tensor]:
    """Tiers [query_tiles, key_pieces], int8, of the heads of a layer, which share one budget."""
    plain = torch.cat([head.concentration.reshape(-1) for head in heads])
    ranks = torch.cat([torch.where(head.text, torch.inf, head.concentration).reshape(-1) for head in heads])
    products = torch.cat([head.products.reshape(-1) for head in heads])
    dense = sum(head.dense for head in heads)
    lut8 = _threshold(ranks, products, config.top_share * dense)
    full = _threshold(plain, products, config.full_share * dense)
    tiers = []
    for head in heads:
        top = head.text | (head.concentration >= lut8)
        tier = torch.where(top, int(Tier.LUT8), int(Tier.LUT4)).to(torch.int8)
        if config.digits > 2:
            tier[top & (head.concentration >= full)] = int(Tier.FULL)
        tiers.append(tier)
    return tiers


def _threshold(rank: Tensor, products: Tensor, budget: float) -> Tensor:
    """The lowest threshold at which no more products than the budget are chosen; equal ranks go together."""
    ranked, order = torch.sort(rank, descending=True, stable=True)
    fits = products[order].cumsum(0).double() <= budget
    above = torch.nextafter(ranked, torch.full_like(ranked, torch.inf))
    count = fits.sum()
    return torch.where(count == len(rank), 0.0, above[count.clamp(max=len(rank) - 1)])
