"""Rules of others that merge tokens which are alike: queries and keys become fewer, nothing else is saved.

CMC (Song et al., ASPLOS 2024) lets a video codec find what a frame repeats of the one before; AdapTiV (Yoo et al.,
MICRO 2024) merges neighbours of an image whose signs agree. Both are rewritten from their descriptions, but
a share of pairs is given and their threshold follows from it, so that rules meet at equal work.

Tokens are visited in stages. Each is compared with what its neighbours of earlier stages were replaced by, as a codec
predicts from decoded frames, so that errors do not add up along a chain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from golden.oracle import CHUNK
from golden.traces import Head

WINDOW = 1
"""CMC looks so many tokens to every side of the same place: 3 x 3 places."""

STEPS = 30
"""Halvings of the threshold's range, at most."""

CLOSE = 0.995
"""A threshold that uses this part of the wanted share is good enough."""

Distance = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""From tokens [n] and candidates [n, candidates] to how unlike they are, [n, candidates]."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """Tokens that are visited together."""

    tokens: NDArray[np.int64]
    """[n], original indices"""
    candidates: NDArray[np.int64]
    """[n, candidates], neighbours of earlier stages, the preferred first; the token itself where there is none"""


@dataclasses.dataclass(frozen=True)
class Merged:
    """What stands for every token: its own index where it is kept, else that of a kept token."""

    rows: NDArray[np.int64]
    """[tokens], for queries"""
    keys: NDArray[np.int64]
    """[tokens], for keys and values"""

    @property
    def pairs(self) -> int:
        """Pairs of query and key left."""
        return _kept(self.rows) * _kept(self.keys)


def _kept(stand_in: NDArray[np.int64]) -> int:
    return int((stand_in == np.arange(len(stand_in))).sum())


def merge(tokens: int, stages: list[Stage], distance: Distance, threshold: float) -> NDArray[np.int64]:
    """What stands for every token, [tokens]: that of the closest candidate, if it is no further than `threshold`."""
    stand_in = np.arange(tokens)
    for stage in stages:
        references = stand_in[stage.candidates]
        missing = stage.candidates == stage.tokens[:, None]
        apart = np.where(missing, np.inf, distance(stage.tokens, references))
        nearest = apart.argmin(axis=1)[:, None]
        match = np.take_along_axis(apart, nearest, axis=1) <= threshold
        found = np.take_along_axis(references, nearest, axis=1)
        stand_in[stage.tokens] = np.where(match, found, stage.tokens[:, None])[:, 0]
    return stand_in


def cmc(head: Head, share: float) -> Merged:
    """Merging by CMC: at most `share` of all pairs, (0, 1], are left. The first frame and text tokens are kept.

    A token's candidates are the places around it, WINDOW to every side, in the frame before. Queries are compared by q,
    keys by k and v, in L2 distance relative to the median norm, with one threshold for both.
    """
    rows = _relative_l2(head.q)
    keys = _relative_l2(np.concatenate([head.k, head.v], axis=1))
    return _fit(head, share, previous_frame(head.grid, head.text_tokens), rows, keys)


def adaptiv(head: Head, share: float) -> Merged:
    """Merging by AdapTiV: at most `share` of all pairs, (0, 1], are left. A token of every frame and text are kept.

    A token's candidates are its left and its upper neighbour. Queries are compared by the signs of q, keys by those of
    k and v: by the part of the channels in which they disagree, with one threshold for both.
    """
    rows = _disagreement(head.q)
    keys = _disagreement(np.concatenate([head.k, head.v], axis=1))
    return _fit(head, share, left_and_up(head.grid, head.text_tokens), rows, keys)


def previous_frame(grid: tuple[int, int, int], text_tokens: int) -> list[Stage]:
    """A stage a frame but the first; candidates in the frame before, the same place first, cut off at the edge."""
    frames, height, width = grid
    index = text_tokens + np.arange(frames * height * width).reshape(grid)
    around = range(-WINDOW, WINDOW + 1)
    offsets = sorted(((dy, dx) for dy in around for dx in around), key=lambda offset: np.hypot(*offset))
    y, x = np.arange(height)[:, None], np.arange(width)
    spots = [np.clip(y + dy, 0, height - 1) * width + np.clip(x + dx, 0, width - 1) for dy, dx in offsets]
    candidates = np.stack([spot.reshape(-1) for spot in spots], axis=1)
    return [Stage(index[f].reshape(-1), index[f - 1].reshape(-1)[candidates]) for f in range(1, frames)]


def left_and_up(grid: tuple[int, int, int], text_tokens: int) -> list[Stage]:
    """A stage an anti-diagonal of all frames at once: left and upper neighbours lie on the one before."""
    frames, height, width = grid
    index = text_tokens + np.arange(frames * height * width).reshape(grid)
    stages = []
    for diagonal in range(1, height + width - 1):
        y = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x = diagonal - y
        left = index[:, y, np.where(x > 0, x - 1, x)]
        up = index[:, np.where(y > 0, y - 1, y), x]
        stages.append(Stage(index[:, y, x].reshape(-1), np.stack([left.reshape(-1), up.reshape(-1)], axis=1)))
    return stages


def _relative_l2(x: NDArray[np.floating]) -> Distance:
    features = x.astype(np.float64)
    scale = np.median(np.linalg.norm(features - features.mean(axis=0), axis=1))
    features /= scale if scale > 0 else 1

    def distance(tokens: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.linalg.norm(features[candidates] - features[tokens][:, None], axis=2)

    return distance


def _disagreement(x: NDArray[np.floating]) -> Distance:
    negative = x < 0
    # Counts of signs are coarse: ties at the threshold are broken by a fixed scatter over the tokens, below one count.
    tie = np.arange(len(x)) * (np.sqrt(5) - 1) / 2 % 1 / x.shape[1]

    def distance(tokens: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.float64]:
        unlike = negative[candidates] != negative[tokens][:, None]
        return unlike.mean(axis=2) + tie[tokens][:, None]

    return distance


def _fit(head: Head, share: float, stages: list[Stage], rows: Distance, keys: Distance) -> Merged:
    """The merging that leaves `share` of all pairs, or the least where even that is more; threshold by bisection."""
    tokens = len(head.q)

    def merged(threshold: float) -> Merged:
        return Merged(merge(tokens, stages, rows, threshold), merge(tokens, stages, keys, threshold))

    most = share * tokens**2
    if share >= 1:
        return Merged(np.arange(tokens), np.arange(tokens))
    best = merged(np.inf)
    low, high = 0.0, 1.0  # of threshold / (1 + threshold)
    for _ in range(STEPS):
        if CLOSE * most <= best.pairs <= most:
            break
        middle = (low + high) / 2
        candidate = merged(middle / (1 - middle))
        if candidate.pairs <= most:
            best, high = candidate, middle
        else:
            low = middle
    return best


def attend_merged(head: Head, merged: Merged, average_rows: bool) -> NDArray[np.float64]:
    """Attention of the kept rows over the kept keys, [tokens, head_dim]: other rows take the result of their stand-in.

    softmax(q . k / sqrt(head_dim) + log(count)) v in float64, where a kept key and value are the means of the `count`
    tokens they stand for (ToMe, ICLR 2023). A kept query is its own (reuse of a reference), or with `average_rows` the
    mean as well (merging).
    """
    kept_rows, row_of = np.unique(merged.rows, return_inverse=True)
    query = (_means(head.q, row_of) if average_rows else head.q[kept_rows].astype(np.float64)) / np.sqrt(
        head.q.shape[1]
    )
    key_of = np.unique(merged.keys, return_inverse=True)[1]
    key, value, weight = _means(head.k, key_of), _means(head.v, key_of), np.log(np.bincount(key_of))
    output = np.empty(query.shape)
    for start in range(0, len(query), CHUNK):
        logits = query[start : start + CHUNK] @ key.T + weight
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        output[start : start + CHUNK] = p @ value / p.sum(axis=1, keepdims=True)
    return output[row_of]


def _means(x: NDArray[np.floating], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of every group, [groups, channels]; group [tokens] counts from 0."""
    total = np.zeros((group.max() + 1, x.shape[1]))
    np.add.at(total, group, x)
    return total / np.bincount(group)[:, None]
