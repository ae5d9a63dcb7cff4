"""Matching: a query row that is close to its reference takes the reference's result instead of its own.

As in a video codec, a row's reference is at the same place in an earlier frame: the last row there that was computed
(CMC, ASPLOS 2024, section 3; SIMPICKER, DAC 2025). A reused row is no reference, so errors do not add up over frames.

Memory: for each place of a frame the token of its reference row, which is read again.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.align import align_to
from golden.config import Config
from golden.formats import FORMATS
from golden.prepare import words
from golden.tables import LIMIT_BITS
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


def match(config: Config, head: Head) -> Matching:
    """Match the query rows of a head.

    A row is reused if |q - reference| < reuse_distance * |q|. Text, the first frame, and rows that are not finite are
    computed; a distance to one that is not finite is infinite. 3 * head_dim + 1 operations a row.
    """
    tokens, (frames, height, width) = len(head.q), head.grid
    distance, reference = np.full(tokens, np.inf), np.arange(tokens)
    if not config.reuse_distance:
        return Matching(distance, reference, 0)
    query = words(config, head, "q")
    places = head.text_tokens + np.arange(frames * height * width).reshape(frames, height * width)
    for token, earlier in zip(places[1:], places[:-1], strict=True):
        last = reference[earlier]
        distance[token], near = compare(config, query[token], query[last])
        reference[token[near]] = last[near]
    return Matching(distance, reference, int(places[1:].size * (3 * config.head_dim + 1)))


def compare(
    config: Config, rows: NDArray[np.uint16], references: NDArray[np.uint16]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Relative distances [rows] of rows to their references, words [rows, head_dim] each, and which are reused.

    With the gap and norm of `squares`, a row is reused if
    gap << LIMIT_BITS < round(reuse_distance**2 * 2**LIMIT_BITS) * norm.
    """
    gap, norm = squares(config, rows, references)
    distance = np.sqrt(np.divide(gap, norm, out=np.full(len(gap), np.inf), where=norm > 0))
    return distance, gap << LIMIT_BITS < round(config.reuse_distance**2 * (1 << LIMIT_BITS)) * norm


def squares(
    config: Config, rows: NDArray[np.uint16], references: NDArray[np.uint16]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Gaps sum((row - reference)**2) and norms sum(row**2), each [rows], exact of what both become at match_bits.

    Both are aligned together. A pair that is not finite has gap 1 and norm 0.
    """
    pairs = align_to(FORMATS[config.float_format], np.concatenate([rows, references], axis=1), config.match_bits)
    here, there = np.split(pairs.mantissa, 2, axis=1)
    gap, norm = np.square(here - there).sum(axis=1), np.square(here).sum(axis=1)
    return np.where(pairs.invalid, 1, gap), np.where(pairs.invalid, 0, norm)
