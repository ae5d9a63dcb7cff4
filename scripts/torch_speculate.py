"""Matching and speculation in PyTorch: what golden.match and speculate define, written again, with equal results."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from golden.config import Config, Tier
from golden.tables import LIMIT_BITS
from golden.tiles import TEXT, Tiles, owner
from scripts.torch_align import FLOATS, Tensor, align_to, finite_rows, torch
from scripts.torch_estimate import Pooled, estimate, largest, pool, unseen
from scripts.torch_prepare import Prepared

MOST = np.iinfo(np.int64).max >> 1
SCORES = 1 << 22
"""Scores of cells at a time, which bounds the memory."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a head's query tiles seem to look at."""

    rank: Tensor
    """[query_tiles, key_pieces], log2 of the largest estimated probability of a key"""
    text: Tensor
    """[key_pieces], which are in the top tiers whatever they hold"""
    products: Tensor
    """[query_tiles, key_pieces], pairs of a row and a key"""
    dense: int
    """Pairs of dense attention, those of reused rows included"""


def match(config: Config, query: Tensor, grid: tuple[int, int, int], text_tokens: int) -> Tensor:
    """References [heads, tokens], the token whose result a token takes, in original order.

    `query` is [heads, tokens, channels] in config.float_format. A row that is not finite is neither reused nor a
    reference.
    """
    heads, tokens, _ = query.shape
    reference = torch.arange(tokens, device=query.device).repeat(heads, 1)
    frames, size = grid[0], grid[1] * grid[2]
    if not config.reuse_distance:
        return reference
    limit = round(config.reuse_distance**2 * (1 << LIMIT_BITS))
    for start in range(text_tokens + size, text_tokens + frames * size, size):
        last = reference[:, start - size : start]
        here = query[:, start : start + size]
        there = query.gather(1, last[..., None].expand_as(here))
        pairs, finite = finite_rows(torch.cat([here, there], dim=2))
        here, there = align_to(config.float_format, pairs, config.match_bits)[0].chunk(2, dim=2)
        gap, norm = (here - there).square().sum(dim=2), here.square().sum(dim=2)
        near = finite[..., 0] & (gap << LIMIT_BITS < limit * norm)
        reference[:, start : start + size] = torch.where(near, last, reference[:, start : start + size])
    return reference


def speculate(config: Config, prepared: Prepared, head: int, places: Tensor, rows: Tiles, columns: Tiles) -> Estimate:
    """What the query tiles of `rows`, which are at `places` of prepared.query, seem to look at."""
    key = prepared.key_vector[head]
    device, tokens = key.device, len(key)

    def tensor(x: NDArray[np.generic]) -> Tensor:
        return torch.as_tensor(x, device=device)

    mantissa, exponent = prepared.mantissa[head, places], prepared.query_exponent[head, places]
    zeros = torch.zeros(tokens, dtype=torch.int64, device=device)
    scale = prepared.factor, prepared.key_power[head] - FLOATS[config.float_format][1] - (config.query_bits - 2)

    def pooled(query_start: NDArray[np.int64], key_start: NDArray[np.int64]) -> tuple[Pooled, Pooled]:
        return pool(config, mantissa, exponent, query_start), pool(config, key, zeros, key_start)

    frames, frame_of = np.unique(columns.frame, return_inverse=True)
    frame_start = np.append(np.flatnonzero(np.diff(frame_of, prepend=-1)), len(frame_of))
    rank = estimate(config, *pooled(rows.start, columns.start), scale, frame_start)
    first = frames[frames != TEXT][:1]
    sure = np.isin(frames, [TEXT, *first])[None, :] | (frames[None, :] == rows.frame[:, None])
    inside = (tensor(sure) | (rank >= frame_floor(config, tokens)))[:, tensor(frame_of)]
    return Estimate(
        rank=_ranks(config, *pooled(rows.cell_start, columns.cell_start), scale, rows, columns, inside),
        text=tensor(columns.pieces.frame == TEXT),
        products=tensor(np.outer(np.diff(rows.start), np.diff(columns.piece_start))),
        dense=tokens**2,
    )


def frame_floor(config: Config, tokens: int) -> int:
    """The rank below which a frame is skipped."""
    if config.frame_mass == 1:
        return unseen(config)
    floor = math.log2((1 - config.frame_mass) / tokens) * (1 << config.estimate_fraction_bits)
    return max(unseen(config), math.floor(floor))


def _ranks(
    config: Config, query: Pooled, key: Pooled, scale: tuple[int, Tensor], rows: Tiles, columns: Tiles, inside: Tensor
) -> Tensor:
    """Ranks [query_tiles, key_pieces] by the means of cells, over the key tiles `inside` [query_tiles, key_tiles]."""
    device = inside.device
    cell_tile = torch.as_tensor(owner(rows.cell_start, rows.start), device=device)
    key_tile = torch.as_tensor(owner(columns.cell_start, columns.start), device=device)
    first_cell = np.searchsorted(rows.cell_start, rows.start)
    pieces = np.searchsorted(columns.cell_start, columns.piece_start)
    found = []
    batch = max(1, SCORES * len(rows.frame) // (len(query.size) * len(key.size)))
    for tile in range(0, len(rows.frame), batch):
        some = first_cell[tile : tile + batch + 1]
        cells = slice(int(some[0]), int(some[-1]))
        ranks = estimate(config, query.cut(cells), key, scale, pieces, inside[cell_tile[cells]][:, key_tile])
        found.append(largest(ranks, some - some[0], 0))
    return torch.cat(found)


def choose(config: Config, heads: list[Estimate]) -> list[Tensor]:
    """Tiers [query_tiles, key_pieces], int8, of the heads of a layer, which share one budget."""
    plain = torch.cat([head.rank.reshape(-1) for head in heads])
    first = torch.cat([torch.where(head.text, MOST, head.rank).reshape(-1) for head in heads])
    products = torch.cat([head.products.reshape(-1) for head in heads])
    dense = sum(head.dense for head in heads)
    lut8 = _threshold(first, products, config.top_share * dense)
    full = _threshold(plain, products, config.full_share * dense)
    tiers = []
    for head in heads:
        top = head.text | (head.rank >= lut8)
        tier = torch.where(top, int(Tier.LUT8), int(Tier.LUT4)).to(torch.int8)
        if config.digits > 2:
            tier[top & (head.rank >= full)] = int(Tier.FULL)
        tiers.append(tier)
    return tiers


def _threshold(rank: Tensor, products: Tensor, budget: float) -> Tensor:
    """The lowest threshold at which no more products than the budget are chosen; equal ranks go together."""
    ranked, order = torch.sort(rank, descending=True, stable=True)
    count = (products[order].cumsum(0).double() <= budget).sum()
    return torch.where(count == len(rank), ranked[-1], ranked[count.clamp(max=len(rank) - 1)] + 1)
