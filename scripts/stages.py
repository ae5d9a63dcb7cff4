"""What makes the complete core faster than a dense FP16 core, one thing switched on after the other: cycles of a head.

    dense        every product takes one pass of FP16 multiply-adds: no tables, tiers or speculation
    tables       tables and codes in their place: every product in FULL, a pass for each digit
    tiers        speculated tiers: most products take a pass or two
    reuse        rows that are reused are not computed
    grouping     what tiers and reuse left uneven is grouped, for one core
    losses       preparation, speculation and the last rows, as far as they do not hide: the complete core

All have the same query rows, lanes and key tiles, a token of which takes a cycle to load. The dense core has the fill
and drain of golden.cycles, which is compared with the hardware, as is golden.head_cycles, which gives the last stage;
the stages between them are passes and loading alone: see golden.group.work. Heads of a layer share one budget. Beside
them stands what CORES cores behind one preparation take, each of which counts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from golden.config import Config, Tier
from golden.cycles import cycles
from golden.group import work
from golden.head_cycles import head_cycles
from golden.layer import Plan, plan
from golden.schedule import Schedule, schedule
from golden.traces import Head
from scripts.evaluate import CORES
from scripts.evaluation import passes, without_grouping

STAGES = ("dense", "tables", "tiers", "reuse", "grouping", "losses")
FACTORS = STAGES[1:]
"""Each is named by the stage that it leads to."""

Stages = Mapping[str, float]
"""Cycles, or an area, at each stage."""


class Layer(NamedTuple):
    """What a layer takes."""

    heads: list[dict[str, Any]]
    """Figures of its heads, each computed on its own"""
    cycles: Stages
    """Of all of them, one after the other"""
    together: int
    """Cycles of CORES cores, times CORES"""
    lane_utilisation: float
    """Of the complete core, all heads one after the other"""


def uniform(config: Config, made: Plan, tier: Tier) -> Schedule:
    """All rows of a head against all keys, in order, at one tier."""
    rows, columns = made.prepared.query_tiles.start, made.prepared.key_tiles.start
    return schedule(config, rows, columns, np.full((len(rows) - 1, len(columns) - 1), tier, np.int8))


def layer_cycles(config: Config, heads: Sequence[Head]) -> Layer:
    """Plans the heads of a layer, and counts."""
    one = dataclasses.replace(config, cores=1)
    plans, short = plan(one, heads), without_grouping(one, heads)
    several = dataclasses.replace(one, cores=CORES)
    whole = without_grouping(dataclasses.replace(one, reuse_distance=0.0), heads) if one.reuse_distance else short
    found = []
    for made, reused, every in zip(plans, short, whole, strict=True):
        losses = head_cycles(one, [made]).total
        found.append(
            {
                "head": made.head.name,
                "tokens": len(made.head.q),
                "passes_per_product": passes(one, made),
                "products_removed": made.products_removed,
                "lane_utilisation": busy(one, [made.grouping.schedule], losses),
                "cycles": {
                    "dense": cycles(one, uniform(one, made, Tier.LUT4)).total,
                    "tables": int(work(one, uniform(one, made, Tier.FULL)).sum()),
                    "tiers": int(every.work.sum()),
                    "reuse": int(reused.work.sum()),
                    "grouping": int(made.grouping.work.sum()),
                    "losses": losses,
                },
                "together": CORES * head_cycles(several, [made]).total,
            }
        )
    cycles_of_all = summed([head["cycles"] for head in found]) | {"losses": head_cycles(one, plans).total}
    lanes = busy(one, [made.grouping.schedule for made in plans], cycles_of_all["losses"])
    return Layer(found, cycles_of_all, CORES * head_cycles(several, plans).total, lanes)


def busy(config: Config, schedules: Iterable[Schedule], cycles: float) -> float:
    """Products of active lanes over what the lanes could do in so many cycles."""
    return sum(each.products(config) for each in schedules) / (cycles * config.peak_products)


def summed(parts: Sequence[Stages]) -> dict[str, float]:
    """The cycles of all of them at each stage."""
    return {stage: sum(part[stage] for part in parts) for stage in STAGES}


def factors(cycles: Stages, area: Stages | None = None) -> dict[str, float]:
    """What each thing is worth: their product is the cycles of the dense core over those of the complete one.

    With areas, these are cycles in equal areas: a core that takes half as much of a chip is there twice.
    """
    spent = [cycles[stage] * (area[stage] if area else 1) for stage in STAGES]
    return {name: before / after for name, (before, after) in zip(FACTORS, pairwise(spent), strict=True)}


def geometric_mean(each: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every factor, so that the product of the means is the mean of the products."""
    logs = [{name: math.log(value) for name, value in parts.items()} for parts in each]
    return {name: math.exp(sum(log[name] for log in logs) / len(logs)) for name in FACTORS}
