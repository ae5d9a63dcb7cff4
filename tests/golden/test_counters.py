"""Expected counters: by hand, and against sums over every block, row, group and lane."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from golden.arbiter import arbitrate, place
from golden.config import Config, Tier
from golden.counters import bank_cycles, expected
from golden.group import in_columns
from golden.parameters import FULL_ENGINES
from golden.schedule import LaneGroup, Packing, Schedule, in_order, schedule


def mixed(config: Config, pack: Packing = in_order, seed: int = 0) -> Schedule:
    """Query and key tiles of all sizes, a tier for every key, masked keys."""
    rng = np.random.default_rng(seed)
    query = np.append(0, np.cumsum(rng.integers(1, config.query_rows, 9, endpoint=True)))
    key = np.append(0, np.cumsum(rng.integers(1, config.tile, 6, endpoint=True)))
    tiers = rng.integers(0, len(Tier), (len(query) - 1, key[-1])).astype(np.int8)
    return schedule(config, query, key, tiers, rng.random(key[-1]) < 0.2, pack=pack)


def test_a_schedule_by_hand(tiny: Config) -> None:
    tiers = np.full((2, 2), Tier.LUT4, np.int8)
    tiers[1, 0] = Tier.LUT8
    found = expected(tiny, schedule(tiny, [0, 8, 11], [0, 16, 21], tiers))
    # Groups of 4 lanes: 4 in the first key tile, 2 in the second, which leaves 3 lanes of the last idle.
    assert found.passes == (8 * (4 + 2) + 3 * 2, 3 * 4 * 2, 0)
    assert found.products == (8 * 21 + 3 * 5, 3 * 16 * 2, 0)
    assert found.busy == sum(found.passes)
    assert (found.groups, found.key_tiles, found.query_tiles, found.rows) == (12, 4, 2, 11)
    assert found.waits_bank == 0


@pytest.mark.parametrize("engine", FULL_ENGINES)
@pytest.mark.parametrize("digits", [2, 3])
@pytest.mark.parametrize("pack", [in_order, in_columns])
def test_against_a_count_of_everything(tiny: Config, digits: int, pack: Packing, engine: str) -> None:
    config = dataclasses.replace(tiny, digits=digits, full_engine=engine)
    made = mixed(config, pack)
    passes, products, waits, groups, tiles = [0, 0, 0], [0, 0, 0], 0, 0, 0
    for rows, blocks in zip(made.rows.tolist(), made.blocks, strict=True):
        for block in blocks:
            tiles += 1
            for group in block.groups:
                groups += 1
                # With tables and two digits FULL takes the passes of LUT8, and the hardware cannot tell them.
                tier = min(group.tier, digits - 1) if engine == "tables" else group.tier
                passes[tier] += rows * config.passes(group.tier)
                products[tier] += rows * config.passes(group.tier) * int(group.active.sum())
                waits += rows * config.passes(group.tier) * (slowest_bank(config, group) - 1)
    found = expected(config, made)
    assert (found.passes, found.products) == (tuple(passes), tuple(products))
    assert (found.groups, found.key_tiles, found.query_tiles) == (groups, tiles, len(made.blocks))
    assert found.waits_bank == waits
    assert (waits > 0) == (pack is in_order)
    assert found.busy == made.passes(config)
    assert 2 * config.head_dim * sum(found.products) == made.products(config)


def slowest_bank(config: Config, group: LaneGroup) -> int:
    """Words that the busiest bank reads."""
    banks = [bank for bank, _ in {place(config, token) for token in group.tokens.tolist()}]
    return max(banks.count(bank) for bank in banks)


@pytest.mark.parametrize("banks", [1, 3, 4, 5])
def test_a_pass_takes_as_long_as_the_arbiter_for_its_words(tiny: Config, banks: int) -> None:
    config = dataclasses.replace(tiny, banks=banks)
    rng = np.random.default_rng(banks)
    tokens: list[NDArray[np.int64]] = list(rng.integers(0, config.tile, (40, config.lanes)))
    groups = [LaneGroup(Tier.LUT4, each, np.ones(config.lanes, bool)) for each in tokens]
    served = [max(grant.cycle for grant in arbitrate(config, [[t] for t in each.tolist()])) + 1 for each in tokens]
    assert bank_cycles(config, groups) == served
    assert max(served) > 1


def test_overtaking_requests_have_no_expected_waits(tiny: Config) -> None:
    config = dataclasses.replace(tiny, request_window=2)
    assert expected(config, mixed(config)).waits_bank is None
