"""What preparation promises of any head: widths of all fields, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from golden.config import DIGIT_MAX, DIGIT_MIN, FLOAT_FORMATS, Config
from golden.formats import FORMATS, FP16
from golden.prepare import Prepared, prepare, restore
from golden.presets import preset
from golden.tiles import make_tiles
from golden.traces import Head

MakeHead = Callable[..., Head]
RunCore = Callable[..., np.ndarray]


def replace(head: Head, **tensors: np.ndarray) -> Head:
    return dataclasses.replace(head, **tensors)


def check_widths(config: Config, prepared: Prepared) -> None:
    """Every field of the operands, and every intermediate, is in the range of its width."""
    got = prepared.operands
    for digits in (got.key_digits, got.value_digits):
        assert digits.dtype == np.int8
        assert digits.shape == (config.digits, len(got.query), config.head_dim)
        assert DIGIT_MIN <= digits.min() <= digits.max() <= DIGIT_MAX
    half = 1 << (config.scale_bits - 1)
    for mantissa in (got.key_mantissa, got.value_mantissa):
        assert half <= mantissa.min() <= mantissa.max() < 2 * half
    most = 1 << (config.key_exponent_bits - 1)
    assert -most <= got.key_exponent.min() <= got.key_exponent.max() < most
    assert 0 <= got.value_shift.min() <= got.value_shift.max() < 1 << config.value_exponent_bits
    most = 1 << (config.output_exponent_bits - 1)
    assert -most <= got.output_exponent < most
    for found, vector in (
        (prepared.key_statistics, prepared.key_vector),
        (prepared.value_statistics, prepared.value_vector),
    ):
        most = 1 << (config.rotated_bits - 1)
        assert -most <= vector.min() <= vector.max() < most
        assert np.abs(vector).max() <= min((found.reach >> config.rotation_shift) + 1, config.rotated_max)
        assert 0 < found.reach < 1 << config.reach_bits
        most = 1 << (config.total_bits - 1)
        assert -most <= found.total.min() <= found.total.max() < most
        assert np.abs(found.mean).max() <= config.input_max


@settings(max_examples=60)
@given(st.data())
def test_every_field_fits_its_width(any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject) -> None:
    config, head = data.draw(any_case)
    prepared = prepare(config, head)
    check_widths(config, prepared)
    finite = np.isfinite(FORMATS[config.float_format].decode(prepared.operands.query)).all(axis=1)
    order = make_tiles(config, head.grid, head.text_tokens, config.query_rows).order
    assert np.array_equal(finite, np.isfinite(head.q[order]).all(axis=1))


@pytest.mark.parametrize("sizes", [(0, 0), (1e-38, 1e-38), (1e-30, 1e-40), (3e38, 1e4), (1e20, 0), (1, 1e-25)])
@pytest.mark.parametrize("bits", [12, 16, 20])
@pytest.mark.parametrize("content", ["random", "one direction", "alike"])
def test_the_whole_range_of_bf16_fits(sizes: tuple[float, float], bits: int, content: str, run_core: RunCore) -> None:
    config = dataclasses.replace(preset("tiny"), float_format="bf16", input_bits=bits)
    rng = np.random.default_rng(bits)
    x = rng.uniform(-1, 1, (64, 16))
    if content == "one direction":  # all of a vector in one channel
        x = hadamard(16)[3] * np.where(np.arange(64) % 2, 1.0, -1.0)[:, None]
    elif content == "alike":
        x = np.ones((64, 16))
    key, value = (np.float32(size) * x.astype(np.float32) for size in sizes)
    head = Head("wide", np.zeros_like(key), key, value, (1, 8, 8))
    prepared = prepare(config, head)
    check_widths(config, prepared)
    got = restore(prepared, run_core(config, prepared, 2))
    # Queries of zeros: the mean of all values. Two roundings of FP16, and what the core loses.
    assert np.abs(got - value.mean(axis=0)).max() <= sizes[1] * 2.0**-8 + 2.0**-24


def test_tokens_of_zeros_get_the_least_scale(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    half = head.v[:32]
    half[3], half[5] = 0, 1e-14
    prepared = prepare(tiny, replace(head, v=np.concatenate([half, -half])))  # of mean zero
    operands, place = prepared.operands, np.argsort(prepared.key_tiles.order)
    assert not operands.value_digits[:, place[[3, 5]]].any()
    assert (operands.value_shift[place[[3, 5]]] == (1 << tiny.value_exponent_bits) - 1).all()
    assert 0 <= operands.value_shift.min() <= 3
    assert operands.value_digits[:, place[4]].any()


@pytest.mark.parametrize("name", FLOAT_FORMATS)
def test_a_head_of_zeros_is_prepared(tiny: Config, make_head: MakeHead, name: str) -> None:
    config = dataclasses.replace(tiny, float_format=name)
    zeros = np.zeros((64, 16), np.float32)
    prepared = prepare(config, replace(make_head(), q=zeros, k=zeros, v=zeros))
    check_widths(config, prepared)
    assert not prepared.operands.query.any()
    assert not prepared.operands.key_digits.any()
    assert not prepared.operands.value_digits.any()


@pytest.mark.parametrize("name", ["k", "v"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_keys_and_values_must_be_finite(tiny: Config, make_head: MakeHead, name: str, value: float) -> None:
    head = make_head()
    getattr(head, name)[9, 2] = value
    with pytest.raises(ValueError, match=f"random0: {name} holds an infinity or a NaN"):
        prepare(tiny, head)


@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_tensors_beyond_the_format_of_inputs_are_refused(tiny: Config, make_head: MakeHead, name: str) -> None:
    head = make_head()
    getattr(head, name)[9, 2] = -7e4
    with pytest.raises(ValueError, match=rf"random0: {name} reaches 7e\+04: beyond fp16"):
        prepare(tiny, head)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("q", r"q reaches 2e\+04: after rotation beyond fp16"),
        ("v", r"v reaches 8e\+04 before or after rotation: beyond fp16, the output format"),
    ],
)
def test_what_rotation_makes_too_long_is_refused(tiny: Config, make_head: MakeHead, name: str, message: str) -> None:
    head = make_head()
    head.v[:] = 0
    # All of a vector meets in one channel: four times as long. The opposite one keeps the mean at zero.
    getattr(head, name)[8] = hadamard(16)[3] * 2e4
    getattr(head, name)[9] = hadamard(16)[3] * -2e4
    with pytest.raises(ValueError, match=message):
        prepare(tiny, head)
    prepare(dataclasses.replace(tiny, rotate=False), head)


@pytest.mark.parametrize("rotate", [True, False])
def test_values_that_the_output_cannot_hold_are_refused(tiny: Config, make_head: MakeHead, rotate: bool) -> None:
    config = dataclasses.replace(tiny, rotate=rotate, float_format="bf16")
    head = make_head()
    head.v[:] = 1e5  # all of it is mean, and comes back with it
    with pytest.raises(ValueError, match=r"random0: v reaches 1e\+05 before or after rotation: beyond fp16"):
        prepare(config, head)
    head.v[:] = 6e4
    assert FP16.decode(FP16.encode(restore(prepare(config, head), np.zeros((64, 16), np.uint16)))).max() < np.inf


def test_too_many_channels_or_tokens_are_refused(tiny: Config, make_head: MakeHead) -> None:
    for head_dim in (12, 32):
        with pytest.raises(
            ValueError, match=rf"head_dim = {head_dim}: must be a multiple of 8, at most .*head_dim = 16"
        ):
            prepare(tiny, make_head(head_dim=head_dim))
    small = dataclasses.replace(tiny, max_tokens=32)
    with pytest.raises(ValueError, match=r"64 tokens: must be at most config.max_tokens = 32"):
        prepare(small, make_head())
