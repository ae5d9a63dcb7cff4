"""The attention in PyTorch against golden: what is decided is the same, what is computed is close."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden import layer
from golden.attention import attention
from golden.config import Config, Tier
from golden.oracle import attend_dropping, relative_l2
from golden.prepare import restore
from golden.presets import DEFAULT_PRESET, preset
from golden.schedule import schedule
from golden.traces import Head, load

torch: Any = pytest.importorskip("torch")

torch_prepare: Any = pytest.importorskip("scripts.torch_prepare")
torch_attention: Any = pytest.importorskip("scripts.torch_attention")

SAMPLE = Path(__file__).parents[2] / "sample" / "street.npz"
BOUND = {14: 4e-3, 15: 2e-3, 16: 1e-3}
"""Relative L2 distance to golden by prob_bits, as scripts.torch_attention promises."""


def make_heads(grid: tuple[int, int, int], text_tokens: int, head_dim: int, count: int = 2) -> list[Head]:
    """Random heads whose queries change little from frame to frame, so that some are reused."""
    rng = np.random.default_rng(5)
    still = rng.standard_normal((1, grid[1] * grid[2], head_dim))
    heads = []
    for head in range(count):
        q, k, v = rng.standard_normal((3, int(np.prod(grid)) + text_tokens, head_dim))
        q[text_tokens:] = np.repeat(still, grid[0], axis=0).reshape(-1, head_dim) + 0.15 * q[text_tokens:]
        q, k, v = (x.astype(np.float32) for x in (1.5 * q, 1.5 * k, v))
        heads.append(Head(f"random{head}", q, k, v, grid, text_tokens))
    return heads


def stacked(heads: list[Head]) -> list[Any]:
    """q, k and v [1, heads, tokens, head_dim] in float64."""
    return [torch.tensor(np.stack([getattr(head, x) for head in heads]).astype(np.float64)[None]) for x in "qkv"]


def made(config: Config, heads: list[Head], rule: str = "simpicker") -> Any:
    return torch_attention.TorchAttention(config, heads[0].grid, heads[0].text_tokens, rule)


def with_reuse(config: Config) -> Config:
    return dataclasses.replace(config, reuse_distance=0.24)


TINY = preset("tiny")
CASES: dict[str, Callable[[], tuple[Config, list[Head]]]] = {
    "tiny": lambda: (TINY, make_heads((2, 4, 8), 0, 16)),
    "partial tiles, text, few channels": lambda: (TINY, make_heads((3, 5, 7), 11, 8)),
    "one frame, one head": lambda: (TINY, make_heads((1, 3, 3), 0, 16, count=1)),
    "reuse": lambda: (with_reuse(TINY), make_heads((5, 5, 7), 3, 16)),
    "plain": lambda: (dataclasses.replace(TINY, rotate=False), make_heads((2, 5, 6), 2, 16)),
    "shaped keys": lambda: (dataclasses.replace(TINY, shape_keys=True), make_heads((2, 5, 6), 2, 16)),
    "all frames kept": lambda: (dataclasses.replace(TINY, frame_mass=1.0), make_heads((3, 4, 4), 0, 16)),
    "few frames kept": lambda: (dataclasses.replace(TINY, frame_mass=0.3), make_heads((6, 4, 4), 2, 16)),
    "default, odd grid": lambda: (preset(DEFAULT_PRESET), make_heads((2, 9, 13), 21, 64)),
    "bf16, reuse": lambda: (with_reuse(preset("amd")), make_heads((3, 9, 9), 5, 64)),
    "two lanes": lambda: (preset("ecp5"), make_heads((2, 8, 8), 5, 64)),
    "128 channels": lambda: (preset("paper"), make_heads((2, 8, 9), 5, 128)),
    "sample": lambda: (preset(DEFAULT_PRESET), load(SAMPLE)[:2]),
    "sample, reuse": lambda: (with_reuse(preset(DEFAULT_PRESET)), load(SAMPLE)[:1]),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_golden(case: str) -> None:
    config, heads = CASES[case]()
    ours = made(config, heads)
    q, k, v = stacked(heads)
    prepared = torch_prepare.prepare(config, q[0], k[0], v[0], ours.query_tiles, ours.key_tiles)
    reference, rows, tiers = ours.plan(prepared)
    output = ours(q, k, v)[0].numpy()
    plans = layer.plan(config, heads)
    for i, plan in enumerate(plans):
        golden = plan.prepared.operands
        assert np.array_equal(prepared.query[i].numpy(), plan.prepared.query)
        assert (prepared.key_vector[i].numpy() == plan.prepared.key_vector).all()
        assert (prepared.value_statistics.mean[i].numpy() == plan.prepared.value_statistics.mean).all()
        assert (prepared.key_digits[:, i].numpy() == golden.key_digits).all()
        assert (prepared.value_digits[:, i].numpy() == golden.value_digits).all()
        assert (prepared.key_scale[i].numpy() == np.ldexp(golden.key_mantissa * 1.0, golden.key_exponent)).all()
        value_scale = np.ldexp(golden.value_mantissa * 1.0, -config.scale_bits - golden.value_shift)
        assert (prepared.value_scale[i].numpy() == value_scale).all()
        assert prepared.output_exponent[i] == golden.output_exponent
        assert (reference[i].numpy() == plan.matching.reference).all()
        for field in dataclasses.fields(rows[i]):
            assert np.array_equal(getattr(rows[i], field.name), getattr(plan.rows, field.name)), field.name
        assert (tiers[i].numpy() == plan.tiers).all()
        assert relative_l2(output[i], layer.attend(config, plan)) < BOUND[config.prob_bits]
    assert ours.products_removed == pytest.approx(np.mean([plan.products_removed for plan in plans]))
    top = sum(float(plan.estimate.products[plan.tiers >= Tier.LUT8].sum()) for plan in plans)
    assert ours.top_share == pytest.approx(top / (len(heads) * ours.tokens**2))


def test_cases_reuse_rows_and_use_all_tiers() -> None:
    config, heads = CASES["reuse"]()
    plan = layer.plan(config, heads)[0]
    assert 0.1 < plan.products_removed < 0.9
    assert set(plan.tiers.flat) == set(Tier)


@pytest.mark.parametrize(("rule", "tier"), [("int4", Tier.LUT4), ("int8", Tier.LUT8)])
def test_one_tier(rule: str, tier: Tier) -> None:
    heads = make_heads((2, 5, 6), 3, 16)
    ours = made(TINY, heads, rule)
    output = ours(*stacked(heads))[0].numpy()
    for found, plan in zip(output, layer.plan(TINY, heads), strict=True):
        start, key_start = plan.prepared.query_tiles.start, plan.prepared.key_tiles.start
        tiers = np.full((len(start) - 1, len(key_start) - 1), tier, np.int8)
        bits = attention(TINY, plan.prepared.operands, schedule(TINY, start, key_start, tiers))
        assert relative_l2(found, restore(plan.prepared, bits)) < BOUND[TINY.prob_bits]
    assert ours.top_share == (tier == Tier.LUT8)


@pytest.mark.parametrize("top_share", [0.0, 0.3, 1.0])
def test_drop_is_the_oracles(top_share: float) -> None:
    config = dataclasses.replace(TINY, top_share=top_share, full_share=0)
    heads = make_heads((2, 5, 6), 0, 16)
    output = made(config, heads, "drop")(*stacked(heads))[0].numpy()
    for found, plan in zip(output, layer.plan(config, heads), strict=True):
        wanted = attend_dropping(plan.head, plan.prepared, plan.rows, plan.tiers)
        assert np.allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("rule", torch_attention.RULES)
def test_a_row_that_is_not_finite_gives_nan_and_nothing_else_changes(rule: str) -> None:
    heads = make_heads((3, 4, 5), 2, 16)
    heads[0].q[7, 3], heads[1].q[30] = np.nan, np.inf
    config = with_reuse(TINY)
    output = made(config, heads, rule)(*stacked(heads))[0].numpy()
    for i, (head, row) in enumerate([(0, 7), (1, 30)]):
        bad = np.isnan(output[head]).any(axis=1)
        assert np.flatnonzero(bad).tolist() == [row]
        assert np.isnan(output[head, row]).all()
        if rule == "simpicker":
            golden = layer.attend(config, layer.plan(config, heads)[i])
            assert relative_l2(output[head][~bad], golden[~bad]) < BOUND[TINY.prob_bits]


def test_elements_of_a_batch_are_layers_of_their_own_and_dtypes_stay() -> None:
    first, second = make_heads((2, 4, 8), 0, 16), load(SAMPLE)[:2]
    second = [head.cut((2, 4, 8), 16) for head in second]
    ours = made(TINY, first)
    both = ours(*(torch.cat(pair).float() for pair in zip(stacked(first), stacked(second), strict=True)))
    assert both.dtype == torch.float32
    assert ours.calls == 1
    for found, heads in zip(both, (first, second), strict=True):
        assert torch.equal(found, ours(*stacked(heads))[0].float())
    assert ours.calls == 3


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = make_heads((3, 5, 7), 3, 16)
    whole = made(TINY, heads)(*stacked(heads))
    monkeypatch.setattr("scripts.torch_attention.SCORES", 1)
    monkeypatch.setattr("scripts.torch_speculate.SCORES", 1)
    assert torch.equal(whole, made(TINY, heads)(*stacked(heads)))


def changed(heads: list[Head], name: str, value: float, channels: slice) -> list[Any]:
    tensors = dict(zip("qkv", stacked(heads), strict=True))
    tensors[name][0, 1, 2, channels] = value
    return list(tensors.values())


@pytest.mark.parametrize(
    ("name", "value", "channels", "message"),
    [
        ("k", np.nan, slice(3, 4), "k holds an infinity or a NaN: must be finite"),
        ("v", np.inf, slice(3, 4), "v holds an infinity or a NaN: must be finite"),
        ("q", 1e6, slice(3, 4), r"q reaches 1e\+06: beyond fp16"),
        ("k", 1e6, slice(3, 4), r"k reaches 1e\+06: beyond fp16"),
        ("q", 6e4, slice(0, 16), r"q reaches 6e\+04: after rotation beyond fp16"),
        ("v", 6e4, slice(0, 16), r"v reaches .* before or after rotation: beyond fp16"),
    ],
)
def test_wrong_tensors_are_refused(name: str, value: float, channels: slice, message: str) -> None:
    heads = make_heads((2, 4, 4), 0, 16)
    with pytest.raises(ValueError, match=message):
        made(TINY, heads)(*changed(heads, name, value, channels))


def test_wrong_shapes_are_refused() -> None:
    ours = torch_attention.TorchAttention(TINY, (2, 4, 4))
    for shape, message in (
        ((1, 2, 31, 16), r"q \(1, 2, 31, 16\), .*: must be alike, .* the 32 tokens of grid \(2, 4, 4\)"),
        ((2, 32, 16), "must be alike"),
        ((1, 2, 32, 24), "head_dim = 24: must be a multiple of 8, at most config.head_dim = 16"),
        ((1, 2, 32, 12), "head_dim = 12"),
    ):
        with pytest.raises(ValueError, match=message):
            ours(*[torch.zeros(shape)] * 3)


def test_the_environment_configures(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_attention.from_environment({}).config == preset(DEFAULT_PRESET)
    assert torch_attention.from_environment({}).grid == (16, 16, 16)
    variables = {"PRESET": "tiny", "GRID": "2,4,8", "TEXT_TOKENS": "3", "RULE": "drop", "REUSE_DISTANCE": "0.2"}
    variables = {f"SIMPICKER_{name}": text for name, text in (variables | {"TOP_SHARE": "0.01"}).items()}
    ours = torch_attention.from_environment(variables)
    assert (ours.grid, ours.text_tokens, ours.rule) == ((2, 4, 8), 3, "drop")
    assert ours.config == dataclasses.replace(TINY, top_share=0.01, full_share=0.01, reuse_distance=0.2)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    torch_attention.configured.cache_clear()
    tensors = stacked(make_heads((2, 4, 8), 3, 16))
    assert torch.equal(torch_attention.attention(*tensors), ours(*tensors))
    torch_attention.configured.cache_clear()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("PRESET", "huge", "SIMPICKER_PRESET: preset 'huge': must be one of tiny"),
        ("GRID", "16,16", "SIMPICKER_GRID = '16,16': must be frames,height,width"),
        ("GRID", "0,1,1", "SIMPICKER_GRID = '0,1,1': must be"),
        ("GRID", "a,b,c", "SIMPICKER_GRID = 'a,b,c': must be"),
        ("TEXT_TOKENS", "-1", "SIMPICKER_TEXT_TOKENS = '-1': must be a whole number, at least 0"),
        ("RULE", "skip", "SIMPICKER_RULE = 'skip': must be one of simpicker, drop, int4, int8"),
        ("TOP_SHARE", "x", r"SIMPICKER_TOP_SHARE = 'x': must be a number in 0..1"),
        ("TOP_SHARE", "1.5", r"SIMPICKER_TOP_SHARE = '1.5': config.top_share = 1.5: must be in "),
        ("REUSE_DISTANCE", "nan", r"SIMPICKER_REUSE_DISTANCE = 'nan': config.reuse_distance = nan: must be"),
    ],
)
def test_wrong_variables_are_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        torch_attention.from_environment({f"SIMPICKER_{name}": text})


def test_wrong_arguments_are_refused() -> None:
    for arguments, message in (
        (((2, 4, 4), 0, "skip"), "rule = 'skip': must be one of"),
        (((0, 4, 4), 0), r"grid = \(0, 4, 4\)"),
        (((2, 4, 4), -1), "text_tokens = -1: must be at least 0"),
        (((2, 64, 64),), "8192 tokens: must be at most config.max_tokens = 4096"),
    ):
        with pytest.raises(ValueError, match=message):
            torch_attention.TorchAttention(TINY, *arguments)
