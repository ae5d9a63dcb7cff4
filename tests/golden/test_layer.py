from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.attention import attention
from golden.config import Config, Tier
from golden.formats import FORMATS, FP16
from golden.layer import Plan, attend, plan
from golden.oracle import attend as exact
from golden.oracle import relative_l2
from golden.prepare import dequantise, restore_values
from golden.presets import preset
from golden.traces import Head

MakeHead = Callable[..., Head]


def in_float(config: Config, planned: Plan) -> np.ndarray:
    """The plan in float64: every computed row meets every key as its tier reads it; others take their reference's."""
    prepared, made = planned.prepared, planned.grouping.schedule
    read = {tier: dequantise(config, prepared.operands, tier) for tier in Tier}
    query = FORMATS[config.float_format].decode(prepared.operands.query)
    output = np.zeros(prepared.query.shape)
    places = {int(token): place for place, token in enumerate(prepared.query_tiles.order)}
    for (a, b), blocks in zip(pairwise(made.query_start), made.blocks, strict=True):
        keys, values = np.zeros(prepared.key.shape), np.zeros(prepared.key.shape)
        for block in blocks:
            for group in block.groups:
                tokens = made.key_start[block.key_tile] + group.tokens[group.active]
                keys[tokens], values[tokens] = (part[tokens] for part in read[group.tier])
        for token in planned.rows.order[a:b]:
            place = places[int(token)]
            with np.errstate(invalid="ignore"):
                score = keys @ query[place]
                p = np.exp2(score - score.max())
            output[place] = p @ values / p.sum()
    restored = restore_values(prepared, output)
    return np.array([restored[reference] for reference in planned.matching.reference])


@settings(max_examples=60)
@given(st.data())
def test_the_core_computes_what_the_plan_says(
    any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject
) -> None:
    config, head = data.draw(any_case)
    (planned,) = plan(config, [head])
    got = attend(config, planned)
    assert got.shape == head.q.shape
    invalid = ~np.isfinite(head.q).all(axis=1)
    assert np.isnan(got[invalid]).all()
    assert np.isfinite(got[~invalid]).all()
    wanted = in_float(config, planned)
    # Scores have 10 fraction bits and a query 13: far out, where a score may saturate, only the range is promised.
    top = np.abs(head.q[~invalid]).max(initial=0) * np.abs(head.k - head.k.mean(axis=0)).max()
    if top < 100:
        size = np.abs(head.v - head.v.mean(axis=0)).max()
        # Results are FP16 twice, and the mean is back in the second ones.
        room = 0.02 * size + 2.0**-10 * np.abs(head.v).max() + 2.0**-24
        assert np.abs(got - wanted)[~invalid].max(initial=0) <= room
    # Rows that are reused are bit for bit those of their reference.
    assert np.array_equal(got, got[planned.matching.reference], equal_nan=True)
    assert planned.products_removed == pytest.approx(1 - planned.matching.computed.mean())


@given(st.data())
def test_every_stage_speaks_of_the_same_rows(
    any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject
) -> None:
    config, head = data.draw(any_case)
    for planned in plan(config, [head, head]):
        computed = np.flatnonzero(planned.matching.computed)
        assert sorted(planned.rows.order) == computed.tolist()
        assert planned.tiers.shape == planned.estimate.rank.shape
        assert planned.tiers.shape[0] == len(planned.rows.frame)
        assert len(planned.operands.query) == len(computed) == planned.grouping.schedule.query_start[-1]
        place = {int(t): i for i, t in enumerate(planned.prepared.query_tiles.order)}
        every = planned.prepared.operands.query
        assert np.array_equal(planned.operands.query, every[[place[int(t)] for t in planned.rows.order]])


def test_rows_return_to_their_tokens(tiny: Config, make_head: MakeHead) -> None:
    config = dataclasses.replace(tiny, reuse_distance=0.3, rotate=False)
    head = make_head((3, 5, 7), 4)
    still = np.concatenate([head.q[:4], np.tile(head.q[4:39], (3, 1)) + np.float32(0.2) * head.q[4:]])
    head = dataclasses.replace(head, q=still, v=head.v * 0)
    (planned,) = plan(config, [head])
    assert 0.2 < planned.products_removed < 0.7
    number = np.arange(len(planned.rows.order))
    output = FP16.encode(np.repeat(planned.rows.order[number][:, None], 16, axis=1).astype(float))
    assert (planned.restore(output)[:, 0] == planned.matching.reference).all()


def test_heads_share_the_budget_of_their_layer(tiny: Config, make_head: MakeHead) -> None:
    heads = [make_head((2, 8, 8), seed=n, scale=scale) for n, scale in enumerate((2.0, 0.3))]
    together = plan(tiny, heads)
    alone = [plan(tiny, [head])[0] for head in heads]
    share = [[np.mean(each.tiers > Tier.LUT4) for each in made] for made in (together, alone)]
    assert share[0][0] > 1.5 * share[1][0]
    assert share[0][1] < share[1][1] / 2
    assert np.mean(share[0]) <= tiny.top_share
    error = [[relative_l2(attend(tiny, each), exact(each.head)) for each in made] for made in (together, alone)]
    # Little, as means of random vectors tell few strong keys from others.
    assert error[0][0] < 0.96 * error[1][0]
    assert [each.head for each in together] == heads


def test_reuse_saves_rows_that_speculation_can_spend(tiny: Config, make_head: MakeHead) -> None:
    head = make_head((4, 4, 8))
    head = dataclasses.replace(head, q=np.tile(head.q[:32], (4, 1)))
    (planned,) = plan(dataclasses.replace(tiny, reuse_distance=0.01), [head])
    (dense,) = plan(tiny, [head])
    assert planned.products_removed == 0.75
    assert planned.rows.frame.max() == 0
    assert np.mean(planned.tiers > Tier.LUT4) > 3 * np.mean(dense.tiers > Tier.LUT4)
    assert planned.grouping.schedule.products(tiny) < dense.grouping.schedule.products(tiny) / 2
    got = attend(tiny, planned)
    assert (got.reshape(4, 32, 16) == got[:32]).all()
    assert relative_l2(got, exact(head)) < relative_l2(attend(tiny, dense), exact(head))


def test_attention_is_that_of_the_operands_and_schedule(tiny: Config, make_head: MakeHead) -> None:
    (planned,) = plan(tiny, [make_head()])
    rows: list[int] = []
    got = attend(tiny, planned, rows.append)
    assert (got == planned.restore(attention(tiny, planned.operands, planned.grouping.schedule))).all()
    assert rows == planned.grouping.schedule.rows.tolist()


def test_an_empty_layer_is_refused(tiny: Config) -> None:
    with pytest.raises(ValueError, match="heads: must be at least one"):
        plan(tiny, [])


def test_a_bad_head_is_named(tiny: Config, make_head: MakeHead) -> None:
    bad = dataclasses.replace(make_head(head_dim=32), name="layer3.head7")
    with pytest.raises(ValueError, match=r"layer3\.head7: head_dim = 32: must be a multiple of 8, at most"):
        plan(tiny, [make_head(), bad])


@pytest.mark.parametrize(("grid", "text_tokens"), [((3, 9, 11), 0), ((2, 5, 7), 13), ((4, 10, 12), 0)])
def test_what_grouping_lifts_is_within_the_budget(
    make_head: MakeHead, grid: tuple[int, int, int], text_tokens: int
) -> None:
    config = dataclasses.replace(preset("tiny"), top_share=0.3, full_share=0.1, piece=2, cell=1)
    heads = [make_head(grid, text_tokens, seed=seed, scale=1 + seed) for seed in (1, 2)]
    plans = plan(config, heads)
    top = pairs = chosen = 0
    for made in plans:
        for (a, b), blocks in zip(
            pairwise(made.grouping.schedule.query_start), made.grouping.schedule.blocks, strict=True
        ):
            for group in (each for block in blocks for each in block.groups):
                pairs += (b - a) * int(group.active.sum())
                top += (b - a) * int(group.active.sum()) * (group.tier > Tier.LUT4)
        chosen += int(made.estimate.products[made.tiers > Tier.LUT4].sum())
    assert 0 < chosen < top <= 0.3 * pairs
