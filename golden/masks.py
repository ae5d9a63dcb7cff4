"""Rules of others that choose which pairs of query and key are computed; the rest is dropped.

SpargeAttn (Zhang et al., ICML 2025) judges blocks by the means of their tiles; Sparse VideoGen (Xi et al., ICML 2025)
gives every head one of two fixed masks. Both are rewritten from their descriptions, with one change: a share of
pairs is given and their own knob, a mass or a width, follows from it, so that rules meet at equal work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from golden.oracle import CHUNK, dense
from golden.tiles import Tiles
from golden.traces import Head

SIMILARITY = 0.03
"""Mean cosine below which the mean of a tile says too little about its tokens: 64 unrelated ones have 1/64.

SpargeAttn tunes it a layer, and its interface with a given share has no fix blocks at all. Tiles of a trained video
model have 0.03 to 0.35 (keys, centred): at 0.08 fix blocks alone take more than half of the pairs of some heads.
"""

PROFILED = 0.01
"""Share of the query rows that Sparse VideoGen looks at densely to choose a mask."""

PROFILED_LEAST = 16
"""Rows looked at in short sequences."""

Keep = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""From tokens [rows] to the pairs that their queries keep, [rows, tokens]."""


def attend_kept(head: Head, keep: Keep) -> tuple[NDArray[np.float64], int]:
    """Attention over the kept pairs, [tokens, head_dim], and how many pairs that were. CHUNK rows at a time."""
    output, pairs = np.empty(head.q.shape), 0
    for start in range(0, len(head.q), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(head.q)))
        kept = keep(rows)
        output[rows] = dense(head.q[rows], head.k, head.v, kept)
        pairs += int(kept.sum())
    return output, pairs


def sparge(
    head: Head, query_tiles: Tiles, key_tiles: Tiles, share: float, similarity: float = SIMILARITY
) -> NDArray[np.bool_]:
    """Blocks that SpargeAttn computes, [query_tiles, key_tiles]: at most `share` of all pairs, (0, 1].

    p = softmax(mean q . mean k / sqrt(head_dim)) over the key tiles, keys centred. A block is in if the better blocks
    of its row hold less than a mass; the mass is the largest that the share allows. Always in, whatever the share, are
    the best block of every row and the "fix blocks": rows and columns of tiles whose tokens are unlike each other (mean
    cosine of all pairs below `similarity`). Such columns take no part in the softmax.
    """
    query, query_alike = _pooled(head.q.astype(np.float64), query_tiles)
    key, key_alike = _pooled(head.k.astype(np.float64) - head.k.mean(axis=0, dtype=np.float64), key_tiles)
    alike = (query_alike >= similarity)[:, None] & (key_alike >= similarity)
    score = np.where(key_alike >= similarity, query @ key.T / np.sqrt(head.q.shape[1]), -np.inf)
    top = score.max(axis=1, keepdims=True)
    p = np.exp(score - np.where(np.isfinite(top), top, 0))
    p /= np.maximum(p.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)

    best_first = np.argsort(-p, axis=1, kind="stable")
    rank = np.argsort(best_first, axis=1)
    mass = np.cumsum(np.take_along_axis(p, best_first, axis=1), axis=1)
    ahead = np.take_along_axis(np.pad(mass, ((0, 0), (1, 0)))[:, :-1], rank, axis=1)

    pairs = np.outer(np.diff(query_tiles.start), np.diff(key_tiles.start))
    keep = ~alike | (rank == 0)
    # Growing the mass adds blocks in the order of what is ahead of them; equal masses, as in rows of one peak, by rank.
    order = np.lexsort((rank.reshape(-1), ahead.reshape(-1)))
    spent = pairs[keep].sum() + np.cumsum(np.where(keep, 0, pairs).reshape(-1)[order])
    keep.reshape(-1)[order[spent <= share * pairs.sum()]] = True
    return keep


def _pooled(x: NDArray[np.float64], tiles: Tiles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of every tile, [tiles, head_dim], and the mean cosine of all pairs of its tokens, [tiles]."""
    size = np.diff(tiles.start)[:, None]
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    unit = np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
    means = [np.add.reduceat(y[tiles.order], tiles.start[:-1], axis=0) / size for y in (x, unit)]
    return means[0], np.square(means[1]).sum(axis=1)


@dataclasses.dataclass(frozen=True)
class Window:
    """A mask of Sparse VideoGen: the query's own group of tokens, `reach` tokens to both sides, the first frame, text.

    Groups are the frames ("spatial") or the places of a frame in all frames ("temporal"), one after the other in
    reading order. Queries of text keep everything.
    """

    kind: Literal["spatial", "temporal"]
    grid: tuple[int, int, int]
    text_tokens: int
    reach: int
    """Up to the number of video tokens, where everything is kept."""

    @property
    def group(self) -> int:
        """Tokens of a group."""
        frames, height, width = self.grid
        return height * width if self.kind == "spatial" else frames

    def keep(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[rows, tokens], the pairs that the queries of these tokens keep."""
        frames, height, width = self.grid
        video = np.arange(frames * height * width)
        frame, spot = np.divmod(video, height * width)
        place = video if self.kind == "spatial" else spot * frames + frame
        text_row = (tokens < self.text_tokens)[:, None]
        begin, end = (
            self._interval(place[np.maximum(tokens - self.text_tokens, 0)] // self.group)
            if len(video)
            else (tokens, tokens)
        )
        near = (place >= begin[:, None]) & (place < end[:, None])
        return np.pad(near | (frame == 0) | text_row, ((0, 0), (self.text_tokens, 0)), constant_values=True)

    def pairs(self) -> int:
        """Number of pairs kept, counted group by group."""
        frames, height, width = self.grid
        size = height * width
        total = frames * size + self.text_tokens
        if not frames * size:
            return total * total
        begin, end = self._interval(np.arange(frames * size // self.group))
        if self.kind == "spatial":
            first = np.minimum(end, size) - np.minimum(begin, size)
        else:  # every `frames`-th is of the first frame
            first = -(-end // frames) - -(-begin // frames)
        kept = end - begin + size - first + self.text_tokens
        return int(self.group * kept.sum() + self.text_tokens * total)

    def _interval(self, group: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First place kept beside a group and the one after the last."""
        begin = group * self.group - self.reach
        return np.maximum(begin, 0), np.minimum(begin + self.group + 2 * self.reach, int(np.prod(self.grid)))


def widest(kind: Literal["spatial", "temporal"], head: Head, share: float) -> Window:
    """The window of a kind that fills `share` of all pairs, (0, 1], or the narrowest where even that is more."""
    low, high = 0, int(np.prod(head.grid))
    while low < high:
        reach = (low + high + 1) // 2
        fits = Window(kind, head.grid, head.text_tokens, reach).pairs() <= share * len(head.q) ** 2
        low, high = (reach, high) if fits else (low, reach - 1)
    return Window(kind, head.grid, head.text_tokens, low)


def svg(head: Head, share: float) -> Window:
    """The window of Sparse VideoGen: of both kinds, as wide as `share` allows, the one with the smaller error.

    The error is the mean square difference to dense attention on a fixed sample of query rows ("online profiling"). A
    kind that cannot be as narrow as the share is out; if neither can, as with few frames, the one of fewer pairs stays.
    """
    spatial, temporal = (widest(kind, head, share) for kind in ("spatial", "temporal"))
    most = max(share * len(head.q) ** 2, min(spatial.pairs(), temporal.pairs()))
    fitting = [window for window in (spatial, temporal) if window.pairs() <= most]
    count = min(len(head.q), max(PROFILED_LEAST, round(PROFILED * len(head.q))))
    rows = np.sort(np.random.default_rng(0).choice(len(head.q), count, replace=False))
    reference = dense(head.q[rows], head.k, head.v)

    def error(window: Window) -> float:
        return float(np.square(dense(head.q[rows], head.k, head.v, window.keep(rows)) - reference).mean())

    return min(fitting, key=error)
