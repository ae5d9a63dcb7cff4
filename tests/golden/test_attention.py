from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from golden.attention import attention
from golden.config import Config, Tier
from golden.formats import FP16
from golden.oracle import attend, dense, numerics_error, relative_l2
from golden.prepare import dequantise, prepare, restore
from golden.presets import PRESETS
from golden.schedule import schedule
from golden.traces import Head

MakeHead = Callable[..., Head]
RunCore = Callable[..., NDArray[np.uint16]]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_computes_attention(name: str, make_head: MakeHead, run_core: RunCore) -> None:
    config = PRESETS[name]
    head = make_head((2, 9, 10), 7, config.head_dim)
    prepared = prepare(config, head)
    output = run_core(config, prepared, Tier.FULL)
    assert numerics_error(config, prepared, output) < 0.002
    # Two digits of keys make 7 bits: steps of 1 / 60 of the largest, which err by 0.29 of them.
    assert relative_l2(restore(prepared, output), attend(head)) < (0.0025 if config.digits == 3 else 0.018)


@pytest.mark.parametrize(("tier", "limit"), [(Tier.LUT4, 0.16), (Tier.LUT8, 0.014), (Tier.FULL, 0.0025)])
def test_more_passes_are_more_exact(
    tiny: Config, make_head: MakeHead, run_core: RunCore, tier: Tier, limit: float
) -> None:
    head = make_head()
    prepared = prepare(tiny, head)
    error = relative_l2(restore(prepared, run_core(tiny, prepared, tier)), attend(head))
    assert limit / 12 < error < limit


def test_equal_scores_give_the_mean(tiny: Config, make_head: MakeHead, run_core: RunCore) -> None:
    head = make_head(scale=0.0)
    prepared = prepare(tiny, head)
    restored = restore(prepared, run_core(tiny, prepared, Tier.FULL))
    assert np.abs(restored - head.v.mean(axis=0)).max() < 1e-3


@pytest.mark.parametrize("tier", Tier)
def test_one_key_gives_its_value(tiny: Config, make_head: MakeHead, run_core: RunCore, tier: Tier) -> None:
    head = make_head((2, 4, 8))
    prepared = prepare(tiny, head)
    mask = np.ones(64, bool)
    mask[37] = False
    output = FP16.decode(run_core(tiny, prepared, tier, mask))
    value = dequantise(tiny, prepared.operands, tier)[1][37]
    # p is between 1/2 and 1 with prob_bits - 1 bits, and the weight rounds once more.
    assert np.abs(output - value).max() <= np.abs(value).max() * 2.0 ** -(tiny.prob_bits - 4)


def test_masked_keys_have_no_influence(tiny: Config, make_head: MakeHead, run_core: RunCore) -> None:
    head = make_head((2, 5, 6))
    prepared = prepare(tiny, head)
    mask = np.random.default_rng(1).random(60) < 0.4
    output = run_core(tiny, prepared, Tier.FULL, mask)
    noise = dataclasses.replace(
        prepared.operands,
        key_digits=np.where(mask[:, None], 7, prepared.operands.key_digits).astype(np.int8),
        value_digits=np.where(mask[:, None], -7, prepared.operands.value_digits).astype(np.int8),
    )
    assert (run_core(tiny, dataclasses.replace(prepared, operands=noise), Tier.FULL, mask) == output).all()
    natural = np.log(2) * np.sqrt(16)
    kept = dense(prepared.query, prepared.key[~mask] * natural, prepared.value[~mask])
    assert relative_l2(FP16.decode(output), kept) < 0.003


def test_a_row_whose_keys_are_all_masked_is_zero(tiny: Config, make_head: MakeHead, run_core: RunCore) -> None:
    prepared = prepare(tiny, make_head())
    assert not run_core(tiny, prepared, Tier.LUT8, np.ones(64, bool)).any()


def test_masked_tiles_before_the_first_key_leave_no_trace(tiny: Config, make_head: MakeHead, run_core: RunCore) -> None:
    prepared = prepare(tiny, make_head())
    mask = np.arange(64) < 40
    starts, tiers = prepared.query_tiles.start, np.zeros((8, 24), np.int8)
    tail = {name: getattr(prepared.operands, name)[..., 40:, :] for name in ("key_digits", "value_digits")}
    for name in ("key_mantissa", "key_exponent", "value_mantissa", "value_shift"):
        tail[name] = getattr(prepared.operands, name)[40:]
    alone = schedule(tiny, starts, [0, 8, 24], tiers)
    expected = attention(tiny, dataclasses.replace(prepared.operands, **tail), alone)
    assert (run_core(tiny, prepared, Tier.LUT4, mask) == expected).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_invalid_queries_are_nan_and_alone(tiny: Config, make_head: MakeHead, run_core: RunCore, value: float) -> None:
    head = make_head()
    clean = prepare(tiny, head)
    expected = restore(clean, run_core(tiny, clean, Tier.LUT8))
    head.q[11, 5] = value
    # Keys stay as they are; their rounding does look at the queries.
    operands = dataclasses.replace(clean.operands, query=prepare(tiny, head).operands.query)
    dirty = dataclasses.replace(clean, operands=operands)
    restored = restore(dirty, run_core(tiny, dirty, Tier.LUT8))
    assert np.isnan(restored[11]).all()
    others = np.arange(64) != 11
    assert (restored[others] == expected[others]).all()


def test_subnormal_queries_are_computed(tiny: Config, make_head: MakeHead, run_core: RunCore) -> None:
    head = make_head()
    head.q[:] *= np.float32(2.0**-17)
    head.k[:] *= np.float32(2.0**14)
    prepared = prepare(tiny, head)
    assert (FP16.decode(prepared.operands.query) != 0).mean() > 0.9
    assert (np.abs(FP16.decode(prepared.operands.query)) < 2.0**-14).mean() > 0.9
    output = run_core(tiny, prepared, Tier.FULL)
    assert numerics_error(tiny, prepared, output) < 0.001


def test_saturated_scores_still_give_finite_rows(tiny: Config, make_head: MakeHead, run_core: RunCore) -> None:
    head = make_head(scale=300.0)
    output = FP16.decode(run_core(tiny, prepare(tiny, head), Tier.FULL))
    assert np.isfinite(output).all()
    assert np.abs(output).max() < 16


def test_mixed_tiers_read_what_each_tier_sees(tiny: Config, make_head: MakeHead, run_core: RunCore) -> None:
    prepared = prepare(tiny, make_head((2, 5, 6)))
    rng = np.random.default_rng(2)
    tiers = np.broadcast_to(rng.integers(0, 3, 60).astype(np.int8), (len(prepared.query_tiles.frame), 60))
    # FULL of codes whose dropped digits are zero must equal the mixed tiers up to the order of accumulation.
    kept = np.arange(3)[:, None, None] <= tiers[0][:, None]
    cut = dataclasses.replace(
        prepared,
        operands=dataclasses.replace(
            prepared.operands,
            key_digits=prepared.operands.key_digits * kept,
            value_digits=prepared.operands.value_digits * kept,
        ),
    )
    mixed, full = (FP16.decode(run_core(tiny, *args)) for args in ((prepared, tiers), (cut, Tier.FULL)))
    assert relative_l2(mixed, full) < 0.001
    assert relative_l2(mixed, FP16.decode(run_core(tiny, prepared, Tier.FULL))) > 0.01


def test_query_tiles_do_not_influence_each_other(tiny: Config, make_head: MakeHead, run_core: RunCore) -> None:
    prepared = prepare(tiny, make_head())
    query = prepared.operands.query.copy()
    query[8:16] = 0x3C00
    other = dataclasses.replace(prepared, operands=dataclasses.replace(prepared.operands, query=query))
    same = run_core(tiny, prepared, Tier.LUT8) == run_core(tiny, other, Tier.LUT8)
    assert same[:8].all()
    assert same[16:].all()
    assert not same[8:16].all()


def test_progress_reports_every_row(tiny: Config, make_head: MakeHead) -> None:
    prepared = prepare(tiny, make_head((1, 5, 5)))
    rows: list[int] = []
    starts = prepared.query_tiles.start, prepared.key_tiles.start
    plan = schedule(tiny, *starts, np.zeros([len(start) - 1 for start in starts], np.int8))
    attention(tiny, prepared.operands, plan, rows.append)
    assert rows == np.diff(prepared.query_tiles.start).tolist()


@pytest.mark.parametrize("name", ["query", "key_digits", "value_digits", "key_exponent", "value_mantissa"])
def test_operands_of_a_wrong_shape_are_named(tiny: Config, make_head: MakeHead, run_core: RunCore, name: str) -> None:
    prepared = prepare(tiny, make_head())
    wrong = dataclasses.replace(prepared.operands, **{name: getattr(prepared.operands, name)[..., :-1]})
    shape = getattr(wrong, name).shape
    with pytest.raises(ValueError, match=re.escape(f"operands.{name} has the shape {shape}: must be (")):
        run_core(tiny, dataclasses.replace(prepared, operands=wrong), Tier.LUT4)


def test_more_tokens_than_configured_are_refused(tiny: Config, make_head: MakeHead) -> None:
    prepared = prepare(tiny, make_head())
    plan = schedule(tiny, prepared.query_tiles.start, prepared.key_tiles.start, np.zeros((8, 4), np.int8))
    with pytest.raises(ValueError, match=r"operands have 64 tokens: config.max_tokens = 32"):
        attention(dataclasses.replace(tiny, max_tokens=32), prepared.operands, plan)
