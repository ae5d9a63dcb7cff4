"""Matching: a query row that is close to its reference takes the reference's result instead of its own.

As in a video codec, a row's reference is at the same place in an earlier frame: the last row there that was computed
(CMC, ASPLOS 2024, section 3; SIMPICKER, DAC 2025). A reused row is no reference, so errors do not add up over frames.

Memory: a reference row for each place of a frame, height * width * head_dim elements, and the token that it came from.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.config import Config
from golden.prepare import Prepared
from golden.traces import Head


@dataclasses.dataclass(frozen=True)
class Matching:
    """Which rows are computed, and whose result the others take. Tokens are in original order."""

    distance: NDArray[np.float64]
    """[tokens], relative L2 distance to the row that was the reference; infinite where there is none"""
    reference: NDArray[np.int64]
    """[tokens], the token whose result is taken; a computed row is its own"""
    operations: int
    """Multiplications with their addition, and other additions and comparisons"""

    @property
    def computed(self) -> NDArray[np.bool_]:
        """[tokens], rows that are computed."""
        return self.reference == np.arange(len(self.reference))

    def expand(self, output: NDArray[np.float64]) -> NDArray[np.float64]:
        """Results [tokens, ...] of all tokens from those of the computed rows, given at their tokens."""
        return output[self.reference]


def match(config: Config, prepared: Prepared, head: Head) -> Matching:
    """Match the query rows of a head that was prepared.

    A row is reused if |q - reference| < reuse_distance * |q|. Text, the first frame, and rows that are not finite are
    computed; a distance to one that is not finite is infinite. 3 * head_dim + 1 operations a row.
    """
    tokens, (frames, height, width) = len(prepared.query), head.grid
    distance, reference = np.full(tokens, np.inf), np.arange(tokens)
    if not config.reuse_distance:
        return Matching(distance, reference, 0)
    query = np.empty_like(prepared.query)
    query[prepared.query_tiles.order] = prepared.query
    finite = np.logical_and.reduce(np.isfinite(query), axis=1)
    places = head.text_tokens + np.arange(frames * height * width).reshape(frames, height * width)
    for token, earlier in zip(places[1:], places[:-1], strict=True):
        last = reference[earlier]
        comparable = finite[token] & finite[last]
        here, there = query[token[comparable]], query[last[comparable]]
        norm = np.linalg.norm(here, axis=1)
        gap = np.linalg.norm(here - there, axis=1)
        distance[token[comparable]] = np.divide(gap, norm, out=np.full(len(gap), np.inf), where=norm > 0)
        near = distance[token] < config.reuse_distance
        reference[token[near]] = last[near]
    return Matching(distance, reference, int(places[1:].size * (3 * query.shape[1] + 1)))
