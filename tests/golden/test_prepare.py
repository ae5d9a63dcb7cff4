from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from golden.attention import codes_seen
from golden.config import Config, Tier
from golden.formats import FP16
from golden.oracle import attend, dense, relative_l2
from golden.prepare import Prepared, dequantise, hadamard, prepare, quantise, restore, restore_values, scales
from golden.traces import Head

MakeHead = Callable[..., Head]


def replace(head: Head, **tensors: np.ndarray) -> Head:
    return dataclasses.replace(head, **tensors)


@pytest.mark.parametrize("size", [16, 48, 64, 80, 128])
def test_rotation_is_orthonormal_and_symmetric(size: int) -> None:
    matrix = hadamard(size)
    assert np.allclose(matrix @ matrix, np.eye(size), atol=1e-12)
    assert (matrix == matrix.T).all()
    block = size & -size
    assert np.count_nonzero(matrix) == size * block
    assert np.allclose(np.abs(matrix[matrix != 0]), block**-0.5)


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize(("grid", "text", "head_dim"), [((2, 4, 8), 0, 16), ((3, 5, 7), 11, 16), ((1, 6, 6), 3, 8)])
def test_float_attention_of_the_prepared_tensors_is_the_heads(
    tiny: Config, make_head: MakeHead, grid: tuple[int, int, int], text: int, head_dim: int, rotate: bool
) -> None:
    config = dataclasses.replace(tiny, rotate=rotate)
    head = make_head(grid, text, head_dim)
    prepared = prepare(config, head)
    natural = np.log(2) * np.sqrt(config.head_dim)
    output = dense(prepared.query, prepared.key * natural, prepared.value)
    assert relative_l2(restore_values(prepared, output), attend(head)) < 1e-12


def test_restore_undoes_order_rotation_and_mean(tiny: Config, make_head: MakeHead) -> None:
    head = make_head((2, 5, 6), 4)
    prepared = prepare(tiny, head)
    # With query tiles of key tile order, the values themselves come back.
    same = dataclasses.replace(prepared, query_tiles=prepared.key_tiles)
    restored = restore(same, FP16.encode(prepared.value))
    assert np.abs(restored - head.v).max() < 4e-3


def test_a_shift_of_all_keys_changes_nothing(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    shifted = replace(head, k=head.k + np.linspace(-2, 2, 16, dtype=np.float32))
    first, second = prepare(tiny, head), prepare(tiny, shifted)
    assert np.allclose(first.key, second.key, atol=1e-5)


def test_a_shift_of_all_values_moves_only_the_mean(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    shift = np.linspace(-8, 8, 16, dtype=np.float32)
    first, second = prepare(tiny, head), prepare(tiny, replace(head, v=head.v + shift))
    assert np.allclose(second.value_mean - first.value_mean, shift, atol=1e-5)
    assert np.abs(first.operands.value_codes - second.operands.value_codes).max() <= 1


def within_one_step(config: Config, prepared: Prepared, tier: Tier, unit: int) -> None:
    key, value = dequantise(config, prepared.operands, tier)
    for name, seen, wanted, mantissa in (
        ("key", key, prepared.key, prepared.operands.key_mantissa),
        ("value", value, prepared.value, prepared.operands.value_mantissa),
    ):
        scale = np.abs(wanted).max(axis=1) / config.code_max * (1 + 2.0 / mantissa.min())
        assert (np.abs(seen - wanted) <= unit * scale[:, None]).all(), name


@pytest.mark.parametrize("count", [2, 3])
def test_codes_are_close_at_every_tier(tiny: Config, make_head: MakeHead, count: int) -> None:
    config = dataclasses.replace(tiny, digits=count)
    prepared = prepare(config, make_head())
    unit = 16 ** (count - 1)
    within_one_step(config, prepared, Tier.LUT4, unit=9 * unit // 16)
    within_one_step(config, prepared, Tier.FULL, unit=9 if count == 3 else 1)
    assert np.abs(prepared.operands.key_codes).max() <= config.code_max


@pytest.mark.parametrize("fair", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_fair_codes_have_no_bias_where_plain_ones_do(count: int, fair: bool) -> None:
    config = Config(digits=count)
    unit = 16 ** (count - 1)
    values = np.random.default_rng(7).uniform(-7 * unit, 7 * unit, (4096, 64))
    one = np.ones(len(values), np.int64)
    codes = quantise(config, values, one, 0 * one, fair=fair)
    bias = {tier: (seen - values).mean() / unit for tier, seen in codes_seen(config, codes).items()}
    assert abs(bias[Tier.FULL]) < 0.001
    if fair:
        assert abs(bias[Tier.LUT4]) < 0.003
    else:
        assert bias[Tier.LUT4] == pytest.approx(0.5 / 16 if count == 2 else 8.5 / 256, abs=0.003)


def test_scales_are_rounded_up_so_that_no_code_clips() -> None:
    config = Config()
    vectors = np.random.default_rng(3).standard_normal((2000, 64)) * np.exp2(np.linspace(-40, 20, 2000))[:, None]
    mantissa, exponent = scales(config, vectors, least=-200)
    scale = np.ldexp(mantissa.astype(float), exponent)
    needed = np.abs(vectors).max(axis=1) / config.code_max
    assert ((mantissa >= 32) & (mantissa <= 63)).all()
    assert (scale >= needed).all()
    assert (scale <= needed * (1 + 1 / 32)).all()


def test_zero_and_tiny_tokens_get_the_least_scale(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    half = head.v[:32]
    half[3], half[5] = 0, 1e-14
    prepared = prepare(tiny, replace(head, v=np.concatenate([half, -half])))  # of mean zero
    operands, place = prepared.operands, np.argsort(prepared.key_tiles.order)
    assert not operands.value_codes[place[[3, 5]]].any()
    assert (operands.value_shift[place[[3, 5]]] == (1 << tiny.value_exponent_bits) - 1).all()
    assert operands.value_shift.min() == 0
    assert operands.value_codes[place[4]].any()


def test_a_head_of_zeros_is_prepared(tiny: Config, make_head: MakeHead) -> None:
    zeros = np.zeros((64, 16), np.float32)
    operands = prepare(tiny, replace(make_head(), q=zeros, k=zeros, v=zeros)).operands
    assert not operands.query.any()
    assert not operands.key_codes.any()
    assert not operands.value_codes.any()
    for name, bits in (("key_exponent", tiny.key_exponent_bits), ("value_shift", tiny.value_exponent_bits + 1)):
        assert np.abs(getattr(operands, name)).max() <= 1 << (bits - 1), name
    assert -(1 << (tiny.output_exponent_bits - 1)) <= operands.output_exponent < 0


@pytest.mark.parametrize("name", ["k", "v"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_keys_and_values_must_be_finite(tiny: Config, make_head: MakeHead, name: str, value: float) -> None:
    head = make_head()
    getattr(head, name)[9, 2] = value
    with pytest.raises(ValueError, match=f"random0: {name} holds an infinity or a NaN"):
        prepare(tiny, head)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": 7e4}, "q reaches .* after rotation: beyond fp16"),
        ({"v": 7e4}, "v reaches .* after rotation: beyond fp16, the output format"),
    ],
)
def test_what_the_formats_cannot_hold_is_refused(
    tiny: Config, make_head: MakeHead, change: dict[str, float], message: str
) -> None:
    head = make_head()
    tensors = {name: getattr(head, name) * np.float32(factor) for name, factor in change.items()}
    with pytest.raises(ValueError, match=message):
        prepare(tiny, replace(head, **tensors))


def test_too_many_channels_or_tokens_are_refused(tiny: Config, make_head: MakeHead) -> None:
    for head_dim in (12, 32):
        with pytest.raises(
            ValueError, match=rf"head_dim = {head_dim}: must be a multiple of 8, at most .*head_dim = 16"
        ):
            prepare(tiny, make_head(head_dim=head_dim))
    small = dataclasses.replace(tiny, max_tokens=32)
    with pytest.raises(ValueError, match=r"64 tokens: must be at most config.max_tokens = 32"):
        prepare(small, make_head())
