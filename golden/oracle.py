"""The oracle: dense attention in float64, and the errors measured against it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from golden.config import Config, Tier
from golden.formats import FORMATS
from golden.prepare import Prepared, dequantise, restore, restore_values
from golden.tiles import Tiles, means
from golden.traces import Head

CHUNK = 512
"""Query rows at a time, which bounds the memory."""


def dense(
    q: NDArray[np.floating], k: NDArray[np.floating], v: NDArray[np.floating], keep: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """softmax(q @ k.T / sqrt(head_dim)) @ v in float64: q [rows, head_dim], k and v [tokens, head_dim].

    `keep` [rows, tokens] drops the other pairs, as sparse attention does; a row that keeps none gives zeros.
    """
    output = np.empty((len(q), v.shape[1]))
    k64, v64 = k.astype(np.float64), v.astype(np.float64)
    for start in range(0, len(q), CHUNK):
        rows = slice(start, start + CHUNK)
        p = probabilities(q[rows].astype(np.float64), k64, None if keep is None else keep[rows])
        output[rows] = p @ v64
    return output


def probabilities(
    q: NDArray[np.float64], k: NDArray[np.float64], keep: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """softmax(q @ k.T / sqrt(head_dim)), [rows, tokens], over the kept pairs."""
    logits = q @ k.T / np.sqrt(k.shape[1])
    if keep is not None:
        logits = np.where(keep, logits, -np.inf)
    top = logits.max(axis=1, keepdims=True)
    p = np.exp(logits - np.where(np.isfinite(top), top, 0))
    return p / np.maximum(p.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)


def relative_l2(output: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """|output - reference| / |reference|, Frobenius norms in float64. A reference of zeros raises ValueError."""
    norm = np.linalg.norm(reference.astype(np.float64))
    if norm == 0:
        raise ValueError("the reference is zero everywhere: its relative error is undefined")
    return float(np.linalg.norm(output.astype(np.float64) - reference) / norm)


def attend(head: Head) -> NDArray[np.float64]:
    """The head's dense attention, [tokens, head_dim]."""
    return dense(head.q, head.k, head.v)


def attend_dropping(head: Head, prepared: Prepared, rows: Tiles, tiers: NDArray[np.int8]) -> NDArray[np.float64]:
    """The head's attention, [tokens, head_dim], if pieces below LUT8 were dropped; tiers [tiles of rows, key_pieces].

    Tokens that `rows` lacks, and those that keep no key, get zeros.
    """
    columns = prepared.key_tiles
    output = np.zeros(head.q.shape)
    keep = np.empty(len(head.k), bool)
    for tile, (start, stop) in enumerate(pairwise(rows.start)):
        keep[columns.order] = np.repeat(tiers[tile] >= Tier.LUT8, np.diff(columns.piece_start))
        tokens = rows.order[start:stop]
        if keep.any():
            output[tokens] = dense(head.q[tokens], head.k[keep], head.v[keep])
    return output


def numerics_error(config: Config, prepared: Prepared, output: NDArray[np.uint16], tier: Tier = Tier.FULL) -> float:
    """Relative L2 error that the datapath adds by itself: alignment, exp2, accumulation and normalisation.

    `output` is the core's, every block at `tier`; the reference is float64 attention of the query that the core was fed
    with the keys and values that the codes stand for at this tier.
    """
    key, value = dequantise(config, prepared.operands, tier)
    natural = np.log(2) * np.sqrt(config.head_dim)  # from base-2 scores to those that `dense` divides
    query = FORMATS[config.float_format].decode(prepared.operands.query)
    reference = dense(query, key * natural, value)
    return relative_l2(restore(prepared, output), restore_values(prepared, reference))


def attention_map(head: Head, rows: Tiles, columns: Tiles) -> NDArray[np.float64]:
    """Mean softmax mass that the rows of a query tile give to a key tile, [query_tiles, key_tiles]: rows sum to 1."""
    pooled = np.empty((len(rows.frame), len(columns.frame)))
    q, k = head.q.astype(np.float64), head.k.astype(np.float64)[columns.order]
    for tile, (start, stop) in enumerate(pairwise(rows.start)):
        p = probabilities(q[rows.order[start:stop]], k)
        pooled[tile] = np.add.reduceat(p.mean(axis=0), columns.start[:-1])
    return pooled


def rank(prepared: Prepared, rows: Tiles) -> NDArray[np.int64]:
    """What golden.speculate estimates, with the true attention: log2 of the root mean square of probabilities.

    [tiles of rows, key_pieces], over the rows of a tile and the keys of a piece, with estimate_fraction_bits fraction
    bits. Rows that are not finite count as zeros.
    """
    start = prepared.key_tiles.piece_start
    query = prepared.finite_rows_of(rows)
    squares = np.empty((len(rows.frame), len(start) - 1))
    for tile, (first, last) in enumerate(pairwise(rows.start)):
        score = query[first:last] @ prepared.key.T
        p = np.exp2(score - score.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        squares[tile] = means((p**2).mean(axis=0), start)
    floor = np.ldexp(1.0, -2 * (1 << prepared.config.estimate_integer_bits))
    logarithm = np.log2(np.maximum(squares, floor)) / 2
    return np.rint(np.ldexp(logarithm, prepared.config.estimate_fraction_bits)).astype(np.int64)
