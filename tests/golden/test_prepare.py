from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.config import DIGIT_MAX, DIGIT_MIN, Config, Tier
from golden.digits import seen
from golden.formats import FP16
from golden.oracle import attend, dense, relative_l2
from golden.prepare import dequantise, hadamard, prepare, restore, restore_values
from golden.quantise import feedback, nearest, scaled, shaped
from golden.tiles import Tiles, make_tiles
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
    codes = [seen(tiny, each.operands.value_digits, tiny.value_digit_step)[Tier.FULL] for each in (first, second)]
    assert np.abs(codes[0] - codes[1]).max() <= 1


@pytest.mark.parametrize("count", [2, 3])
def test_codes_are_close_at_every_tier(tiny: Config, make_head: MakeHead, count: int) -> None:
    config = dataclasses.replace(tiny, digits=count, shape_keys=False)
    prepared = prepare(config, make_head())
    for tier in Tier:
        key, value = dequantise(config, prepared.operands, tier)
        for name, read, wanted, step in (
            ("key", key, prepared.key, config.key_digit_step),
            ("value", value, prepared.value, config.value_digit_step),
        ):
            # A digit leaves a rest that is anywhere in its weight: 0.29 of it; a little more at the edge. The last of
            # three digits also bears what clipping takes of one value in 28: up to 9.
            weight = config.digit_weights(step)[config.passes(tier) - 1]
            scale = np.abs(wanted).max(axis=1, keepdims=True) / config.code_max(step)
            deviation = np.sqrt(np.square((read - wanted) / scale).mean())
            assert 0.25 * weight < deviation < (0.41 if weight > 1 or config.digits == 2 else 1.2) * weight, (
                name,
                tier,
            )


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("steps", [(3, 4), (4, 3), (2, 2)])
def test_operands_are_the_quantised_tensors(
    tiny: Config, make_head: MakeHead, steps: tuple[int, int], rotate: bool
) -> None:
    config = dataclasses.replace(tiny, key_digit_step=steps[0], value_digit_step=steps[1], rotate=rotate)
    prepared = prepare(config, make_head((2, 5, 6), 4))
    got = prepared.operands
    key = scaled(prepared.key, got.key_mantissa, got.key_exponent)
    assert (got.key_digits == shaped(config, key, feedback(config, prepared.query), steps[0])).all()
    exponent = got.output_exponent - config.scale_bits - got.value_shift
    value = scaled(prepared.value, got.value_mantissa, exponent)
    assert (got.value_digits == nearest(config, value, steps[1])).all()
    assert (got.query == FP16.encode(prepared.query)).all()
    for units, step in ((key, steps[0]), (value, steps[1])):
        assert (np.abs(units).max(axis=1) <= config.code_max(step)).all()
        assert (np.abs(units).max(axis=1) > config.code_max(step) / (1 + 1 / 32) - 1e-9).all()
    assert got.value_shift.min() == 0


def test_rows_of_other_tiles_are_found(tiny: Config, make_head: MakeHead) -> None:
    head = make_head((2, 5, 6), 4)
    prepared = prepare(dataclasses.replace(tiny, rotate=False), head)
    tokens = np.array([63, 5, 17, 0])
    rows = Tiles(tokens, np.array([0]), np.array([0, 4]), np.array([0, 4]), np.array([0, 4]))
    assert (prepared.query_tiles.order[prepared.places(rows)] == tokens).all()
    assert (prepared.rows_of(rows) == head.q[tokens]).all()


@settings(max_examples=60)
@given(st.data())
def test_every_field_fits_its_width(any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject) -> None:
    config, head = data.draw(any_case)
    got = prepare(config, head).operands
    for digits in (got.key_digits, got.value_digits):
        assert digits.dtype == np.int8
        assert digits.shape == (config.digits, len(head.q), config.head_dim)
        assert DIGIT_MIN <= digits.min() <= digits.max() <= DIGIT_MAX
    half = 1 << (config.scale_bits - 1)
    for mantissa in (got.key_mantissa, got.value_mantissa):
        assert half <= mantissa.min() <= mantissa.max() < 2 * half
    most = 1 << (config.key_exponent_bits - 1)
    assert -most <= got.key_exponent.min() <= got.key_exponent.max() < most
    assert 0 <= got.value_shift.min() <= got.value_shift.max() < 1 << config.value_exponent_bits
    assert abs(got.output_exponent) <= 1 << (config.output_exponent_bits - 1)
    finite = np.isfinite(FP16.decode(got.query)).all(axis=1)
    order = make_tiles(config, head.grid, head.text_tokens, config.query_rows).order
    assert np.array_equal(finite, np.isfinite(head.q[order]).all(axis=1))


def test_zero_and_tiny_tokens_get_the_least_scale(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    half = head.v[:32]
    half[3], half[5] = 0, 1e-14
    prepared = prepare(tiny, replace(head, v=np.concatenate([half, -half])))  # of mean zero
    operands, place = prepared.operands, np.argsort(prepared.key_tiles.order)
    assert not operands.value_digits[:, place[[3, 5]]].any()
    assert (operands.value_shift[place[[3, 5]]] == (1 << tiny.value_exponent_bits) - 1).all()
    assert operands.value_shift.min() == 0
    assert operands.value_digits[:, place[4]].any()


def test_a_head_of_zeros_is_prepared(tiny: Config, make_head: MakeHead) -> None:
    zeros = np.zeros((64, 16), np.float32)
    operands = prepare(tiny, replace(make_head(), q=zeros, k=zeros, v=zeros)).operands
    assert not operands.query.any()
    assert not operands.key_digits.any()
    assert not operands.value_digits.any()
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
