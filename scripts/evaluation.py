"""What `make evaluate` measures of a layer's heads: errors, work, cost of speculation, and the schedule's quality.

Work is counted in table passes for each product of dense attention: 2 is all INT8, as good as FP16; what reads FULL
takes as many as the configuration has digits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden import oracle
from golden.config import Config, Tier
from golden.group import Grouping, bank_collisions, group, ungrouped
from golden.layer import Plan, attend, plan
from golden.oracle import attend_dropping, relative_l2
from golden.peers import PEERS
from golden.prepare import operations
from golden.speculate import choose
from golden.traces import Head

SHARES = (0.0, 0.03, 0.0625, 0.125, 0.25, 0.5625, 1.0)
"""Shares of the top tiers at which curves are measured."""
WORKS = (0.25, 0.5, 0.75, 1.125, 1.5)
"""Passes for a product at which rules of others are measured."""

OURS, ORACLE, POOLED, DROPPED = "SIMPICKER", "oracle choice", "pooled top-k", "the rest dropped"


@dataclasses.dataclass(frozen=True)
class Job:
    """One attention to be measured; pickled to a worker."""

    part: str
    series: str
    planned: Plan
    config: Config
    drop: bool = False
    wanted: float | None = None
    """Passes for a product, where `series` is a rule of others"""


@dataclasses.dataclass(frozen=True)
class Point:
    """What a job gave."""

    part: str
    series: str
    head: str
    wanted: float
    """What was asked for: the share of the top tiers, or the work of a rule of others"""
    work: float
    rel_l2: float


def unseen(share: float) -> None:
    """Progress that nobody follows."""


def reference(head: Head, progress: Callable[[float], None] = unseen) -> NDArray[np.float64]:
    """The oracle's output."""
    return oracle.attend(head)


def measure(job: Job, reference: NDArray[np.float64], progress: Callable[[float], None] = unseen) -> Point:
    """The error of a job's attention against the oracle's output; `progress` is told each share that is done."""
    made, config = job.planned, job.config
    wanted = config.top_share if job.wanted is None else job.wanted
    if job.wanted is not None:
        found = PEERS[job.series](made.head, made.prepared.query_tiles, made.prepared.key_tiles, job.wanted)
        output, work = found.output, found.work
    elif job.drop:
        output = attend_dropping(made.head, made.prepared, made.rows, made.tiers)
        work = config.passes(Tier.LUT8) * top_share(made)
    else:
        rows = len(made.rows.order)
        output = attend(config, made, lambda done: progress(done / rows))
        work = passes(config, made)
    return Point(job.part, job.series, made.head.name, wanted, work, relative_l2(output, reference))


def passes(config: Config, made: Plan) -> float:
    """Table passes for each product of dense attention."""
    return made.grouping.schedule.products(config) / dense_products(config, made.head)


def dense_products(config: Config, head: Head) -> int:
    """Products of dense attention, q . k and p . v."""
    return 2 * config.head_dim * len(head.q) ** 2


def top_share(made: Plan) -> float:
    """Share of the products of dense attention that are computed in LUT8 or FULL."""
    return (1 - made.products_removed) * (1 - made.grouping.schedule.tier_shares()[Tier.LUT4.name])


def speculation_share(config: Config, made: Plan) -> float:
    """Operations of speculation and matching over the products of dense attention."""
    return (made.estimate.operations + made.matching.operations) / dense_products(config, made.head)


def figures(config: Config, made: Plan, alone: Grouping, rel_l2: float) -> dict[str, Any]:
    """All figures of a head; `alone` is its schedule without grouping."""
    head, dense = made.head, dense_products(config, made.head)
    return {
        "head": head.name,
        "tokens": len(head.q),
        "head_dim": head.q.shape[1],
        "rel_l2": rel_l2,
        "top_tier_share": top_share(made),
        "tier_shares": made.grouping.schedule.tier_shares(),
        "passes_per_product": passes(config, made),
        "products_removed": made.products_removed,
        "speculation_share": speculation_share(config, made),
        "matching_share": made.matching.operations / dense,
        "preparation_share": operations(config, *head.q.shape) / dense,
        "lane_utilisation": made.grouping.lane_utilisation,
        "balance": made.grouping.balance,
        "lane_utilisation_ungrouped": alone.lane_utilisation,
        "balance_ungrouped": alone.balance,
        "bank_collisions": bank_collisions(config, made.grouping.schedule),
        "query_tiles": len(made.grouping.work),
    }


def without_grouping(config: Config, heads: Sequence[Head]) -> list[Grouping]:
    """The schedules of a layer's heads with nothing joined, refilled, promoted, split or spread."""
    single = dataclasses.replace(config, group_window=1)
    return [ungrouped(single, made.rows, made.prepared.key_tiles, made.tiers) for made in plan(single, heads)]


def ablations(config: Config, heads: Sequence[Head]) -> Iterator[tuple[str, Config, list[Plan], list[Grouping]]]:
    """The layer with one thing changed at a time: name, configuration, plans, and how they are grouped."""

    def planned(name: str, other: Config, plans: list[Plan]) -> tuple[str, Config, list[Plan], list[Grouping]]:
        return name, other, plans, [made.grouping for made in plans]

    def changed(name: str, **fields: Any) -> tuple[str, Config, list[Plan], list[Grouping]]:
        other = dataclasses.replace(config, **fields)
        return planned(name, other, plan(other, heads))

    yield changed("everything on")
    yield changed("no frame level", frame_mass=1.0)
    yield changed("no token level", piece=config.tile, cell=math.gcd(config.tile, config.query_rows))
    yield planned("a budget for each head", config, [made for head in heads for made in plan(config, [head])])
    yield changed("no top tiers: all LUT4", top_share=0.0, full_share=0.0)
    yield changed("no reuse", reuse_distance=0.0)
    yield changed("no rotation", rotate=False)
    yield changed("with shaped keys", shape_keys=True)
    yield "no grouping", config, plan(config, heads), without_grouping(config, heads)


def curves(config: Config, plans: Sequence[Plan]) -> Iterator[Job]:
    """Jobs of the curves of a layer: our choice, better and worse ones, at several shares; and rules of others."""
    estimates = [made.estimate for made in plans]
    known = [dataclasses.replace(made.estimate, rank=oracle.rank(made.prepared, made.rows)) for made in plans]
    for share in SHARES:
        budget = dataclasses.replace(config, top_share=share, full_share=min(share, config.full_share))
        ours = choose(budget, estimates)
        for series, tiers in ((OURS, ours), (ORACLE, choose(budget, known)), (POOLED, pooled(plans, share))):
            for made, each in zip(plans, tiers, strict=True):
                yield Job("curves", series, _with_tiers(config, made, each), budget)
        if 0 < share < 1:  # nothing, and dense attention, are no points of a curve
            for made, each in zip(plans, ours, strict=True):
                yield Job("curves", DROPPED, _with_tiers(config, made, each), budget, drop=True)
    for series in PEERS:
        fixed = {"int4": (1.0,), "int8": (2.0,)}
        for work in fixed.get(series, WORKS):
            for made in plans:
                yield Job("curves", series, made, config, wanted=work)


def pooled(plans: Sequence[Plan], share: float) -> list[NDArray[np.int8]]:
    """Tiers [query_tiles, key_pieces] if every query tile takes an equal share of key tiles, by the means of tiles."""
    tiers = []
    for made in plans:
        columns, score = made.prepared.key_tiles, made.estimate.tile_score
        rank = np.argsort(np.argsort(-score, axis=1, kind="stable"), axis=1)
        top = rank < round(share * score.shape[1])
        tiers.append(np.where(top[:, columns.piece_tile], Tier.LUT8, Tier.LUT4).astype(np.int8))
    return tiers


def _with_tiers(config: Config, made: Plan, tiers: NDArray[np.int8]) -> Plan:
    grouping = group(config, made.rows, made.prepared.key_tiles, tiers)
    return dataclasses.replace(made, tiers=tiers, grouping=grouping)
