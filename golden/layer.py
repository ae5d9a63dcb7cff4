"""A layer's heads through all stages: prepare, match, speculate, group, attend.

    query, key, value -> prepare -> match -> speculate -> group -> attend -> output
                            |  (rows left)   (tiers)   (schedule)    |
                            +----------------------------------------+

Heads of a layer share one budget of work in the top tiers, so they are planned together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from golden.attention import Operands, attention
from golden.config import Config, Tier
from golden.group import Grouping, compact, group
from golden.match import Matching, match
from golden.prepare import Prepared, prepare, restore
from golden.speculate import Estimate, Thresholds, speculate, thresholds
from golden.tiles import Tiles
from golden.traces import Head

ROUNDS = 4
"""Times that tiers are chosen at most, each time with less where grouping lifted more keys than the budget allows."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the core is to compute of a head, and every intermediate that it came from."""

    head: Head
    prepared: Prepared
    matching: Matching
    rows: Tiles
    """The query tiles of the rows that are computed"""
    estimate: Estimate
    thresholds: Thresholds
    """Of the layer"""
    tiers: NDArray[np.int8]
    """[query tiles of rows, key_pieces]"""
    grouping: Grouping

    @property
    def operands(self) -> Operands:
        """What the core is fed: queries of the computed rows alone."""
        given = self.prepared.operands
        return dataclasses.replace(given, query=given.query[self.prepared.places(self.rows)])

    @property
    def products_removed(self) -> float:
        """Share of the products of dense attention whose rows are reused."""
        return 1 - len(self.rows.order) / len(self.head.q)

    def restore(self, output: NDArray[np.uint16]) -> NDArray[np.float64]:
        """The core's output, FP16 bits [computed rows, config.head_dim], as the head's: [tokens, head_dim]."""
        everywhere = np.zeros((len(self.head.q), output.shape[1]), np.uint16)
        everywhere[self.prepared.places(self.rows)] = output
        return self.matching.expand(restore(self.prepared, everywhere))


def plan(config: Config, heads: Sequence[Head]) -> list[Plan]:
    """Plans of the heads of a layer."""
    prepared = [prepare(config, head) for head in heads]
    matched = [match(config, head) for head in heads]
    rows = [compact(config, p.query_tiles, m.computed) for p, m in zip(prepared, matched, strict=True)]
    estimates = [speculate(config, p, r) for p, r in zip(prepared, rows, strict=True)]
    limits, tiers, groupings = _grouped(config, rows, [p.key_tiles for p in prepared], estimates)
    parts = zip(heads, prepared, matched, rows, estimates, [limits] * len(heads), tiers, groupings, strict=True)
    return [Plan(*each) for each in parts]


def _grouped(
    config: Config, rows: Sequence[Tiles], columns: Sequence[Tiles], estimates: Sequence[Estimate]
) -> tuple[Thresholds, list[NDArray[np.int8]], list[Grouping]]:
    """Thresholds, tiers and groupings within the budget: grouping lifts keys where pieces do not fill lane groups."""
    share, dense = config.top_share, sum(estimate.dense for estimate in estimates)
    limits, tiers, groupings = thresholds(config, estimates), [], []
    for _ in range(ROUNDS):
        budget = dataclasses.replace(config, top_share=share, full_share=min(share, config.full_share))
        limits = thresholds(budget, estimates)
        tiers = [limits.tiers(config, estimate) for estimate in estimates]
        groupings = [group(config, *each) for each in zip(rows, columns, tiers, strict=True)]
        plans = [grouping.schedule for grouping in groupings]
        top = sum(int(made.rows @ made.counts[1][:, Tier.LUT8 :].sum(axis=1)) for made in plans) / dense
        if top <= config.top_share:
            break
        share = max(0.0, share - (top - config.top_share))
    return limits, tiers, groupings


def attend(config: Config, planned: Plan, progress: Callable[[int], None] = lambda rows: None) -> NDArray[np.float64]:
    """The head's attention, [tokens, head_dim], as the core computes it, bit for bit."""
    return planned.restore(attention(config, planned.operands, planned.grouping.schedule, progress))
