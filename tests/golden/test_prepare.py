from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from golden.config import FLOAT_FORMATS, Config, Tier
from golden.formats import FORMATS, FP16
from golden.oracle import attend, dense, relative_l2
from golden.prepare import dequantise, operations, prepare, restore, restore_values, softmax_factor, words
from golden.quantise import CODE_FRACTION_BITS, ONE, feedback, nearest, scaled, shaped
from golden.tiles import Tiles
from golden.traces import Head
from tests.golden import by_hand

MakeHead = Callable[..., Head]


def replace(head: Head, **tensors: np.ndarray) -> Head:
    return dataclasses.replace(head, **tensors)


def as_words(config: Config, head: Head) -> Head:
    """The head that hardware is fed: its tensors rounded to the format of inputs, in float64."""
    form = FORMATS[config.float_format]
    return replace(head, **{name: form.decode(form.encode(getattr(head, name))) for name in "qkv"})


def unit(config: Config, exponent: int) -> float:
    """What the integers of keys or values count."""
    return 2.0 ** (exponent - FORMATS[config.float_format].bias - (config.input_bits - 2))


def worst(config: Config) -> float:
    """Units by which a channel may be off that was aligned, centred, rotated and shifted."""
    # Half a unit by alignment, and two by the mean (see test_statistics), in all channels; half a one by the shift.
    return 2.5 * (1 << config.rotation_stages) / (1 << config.rotation_shift) + 0.5


@settings(max_examples=60)
@given(st.data())
def test_preparation_follows_its_definition(
    any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject
) -> None:
    config, head = data.draw(any_case)
    got = prepare(config, head)
    query, key, value = (words(config, head, name).tolist() for name in "qkv")
    wanted = [by_hand.prepared_query(config, query[token]) for token in got.query_tiles.order]
    assert got.operands.query.tolist() == wanted
    for rows, found, vector in (
        (key, got.key_statistics, got.key_vector),
        (value, got.value_statistics, got.value_vector),
    ):
        ordered = [rows[token] for token in got.key_tiles.order]
        exponent, total, mean, reach = by_hand.statistics(config, ordered)
        assert (found.exponent, found.total.tolist(), found.mean.tolist(), found.reach) == (
            exponent,
            total,
            mean,
            reach,
        )
        assert vector.tolist() == by_hand.prepared_vectors(config, ordered)


@pytest.mark.parametrize("name", FLOAT_FORMATS)
@pytest.mark.parametrize("rotate", [True, False])
def test_keys_and_values_are_close_to_the_exact_ones(
    tiny: Config, make_head: MakeHead, rotate: bool, name: str
) -> None:
    config = dataclasses.replace(tiny, rotate=rotate, float_format=name)
    head = as_words(config, make_head((3, 5, 7), 11))
    got = prepare(config, head)
    block = 1 << config.rotation_stages
    matrix = hadamard(block) * block**-0.5
    # An orthonormal rotation, and what is left of a length after shifting by whole bits.
    rest = 2.0 ** (config.rotation_stages / 2 - config.rotation_shift)
    base = math.log2(math.e) / math.sqrt(16)
    for found, tensor, statistics, factor in (
        (got.key, head.k, got.key_statistics, base / rest),
        (got.value, head.v, got.value_statistics, rest),
    ):
        exact = (tensor - tensor.mean(axis=0))[got.key_tiles.order]
        exact = (exact.reshape(len(exact), -1, block) @ matrix).reshape(exact.shape) * factor
        # The factor of keys has 16 bits.
        scale = factor / rest if found is got.value else base / rest**2
        allowed = worst(config) * unit(config, statistics.exponent) * scale + np.abs(exact) * 2.0**-16
        assert (np.abs(found - exact) <= allowed).all()


@pytest.mark.parametrize(("name", "rotated"), [("fp16", 5e-4), ("bf16", 4e-3)])
@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize(("grid", "text", "head_dim"), [((2, 4, 8), 0, 16), ((3, 5, 7), 11, 16), ((1, 6, 6), 3, 8)])
def test_float_attention_of_the_prepared_tensors_is_the_heads(
    tiny: Config,
    make_head: MakeHead,
    grid: tuple[int, int, int],
    text: int,
    head_dim: int,
    rotate: bool,
    name: str,
    rotated: float,
) -> None:
    config = dataclasses.replace(tiny, rotate=rotate, float_format=name)
    head = make_head(grid, text, head_dim)
    prepared = prepare(config, head)
    natural = np.log(2) * np.sqrt(config.head_dim)
    output = dense(prepared.query, prepared.key * natural, prepared.value)
    # Rotated queries are rounded to their format, 2**-11 or 2**-8 of each; keys and values to 2**-15 of the largest.
    error = relative_l2(restore_values(prepared, output), attend(as_words(config, head)))
    assert error < (rotated if rotate else 5e-5)


@pytest.mark.parametrize("size", range(8, 257, 8))
@pytest.mark.parametrize("rotate", [True, False])
def test_the_softmax_factor_is_rounded_to_sixteen_bits(size: int, rotate: bool) -> None:
    for channels in {-(-size // 16) * 16, 256}:
        config = Config(head_dim=channels, rotate=rotate)
        mantissa, exponent = softmax_factor(config, size)
        assert ONE <= mantissa < 2 * ONE
        # Products of rotated vectors are longer by all stages, less the shifts of both.
        longer = 2.0 ** (config.rotation_stages - 2 * config.rotation_shift)
        wanted = math.log2(math.e) / math.sqrt(size) / longer
        assert abs(mantissa - wanted * ONE / 2.0**exponent) <= 0.5 + 1e-9


def test_restore_undoes_order_rotation_and_mean(tiny: Config, make_head: MakeHead) -> None:
    head = make_head((2, 5, 6), 4)
    prepared = prepare(tiny, head)
    # With query tiles of key tile order, the values themselves come back: rounded twice to FP16, 2**-11 of up to 8.
    same = dataclasses.replace(prepared, query_tiles=prepared.key_tiles)
    restored = restore(same, FP16.encode(prepared.value))
    assert np.abs(restored - head.v).max() < 4e-3


@pytest.mark.parametrize("rotate", [True, False])
def test_restoring_is_that_of_rows_in_original_order(tiny: Config, make_head: MakeHead, rotate: bool) -> None:
    config = dataclasses.replace(tiny, rotate=rotate)
    prepared = prepare(config, make_head((2, 5, 6), 4, 8))
    output = FP16.encode(np.random.default_rng(0).standard_normal((64, 16)))
    values = prepared.value_statistics
    rows = [by_hand.restored(config, row, values.mean.tolist(), values.exponent) for row in output.tolist()]
    got = restore(prepared, output)
    assert (got[prepared.query_tiles.order] == FP16.decode(np.array(rows, np.uint16))[:, :8]).all()
    # In float64 the same but for two roundings of 16 bits and one of FP16, of numbers below 8.
    assert np.abs(got - restore_values(prepared, FP16.decode(output))).max() < 2.0**-9 + 2.0**-10


def in_64ths(head: Head, name: str) -> np.ndarray:
    """A tensor in whole 64ths, so that sums of two such are exact in FP16."""
    return np.rint(getattr(head, name) * 64) / np.float32(64)


def test_a_shift_of_all_keys_changes_nothing(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    keys = in_64ths(head, "k")
    shift = np.arange(-16, 16, 2, dtype=np.float32) / 8
    first, second = (prepare(tiny, replace(head, k=k)) for k in (keys, keys + shift))
    factor = first.factor[0] / ONE * 2.0 ** first.factor[1]
    allowed = sum(worst(tiny) * unit(tiny, p.key_statistics.exponent) * factor for p in (first, second))
    assert np.abs(first.key - second.key).max() <= allowed


def test_a_shift_of_all_values_moves_only_the_mean(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    values = in_64ths(head, "v")
    shift = np.arange(-16, 16, 2, dtype=np.float32) / 2
    first, second = (prepare(tiny, replace(head, v=v)) for v in (values, values + shift))
    means = [p.value_statistics.mean * unit(tiny, p.value_statistics.exponent) for p in (first, second)]
    units = unit(tiny, first.value_statistics.exponent) + unit(tiny, second.value_statistics.exponent)
    assert np.abs(means[1] - means[0] - shift).max() <= 2 * units
    assert np.abs(first.value - second.value).max() <= worst(tiny) * units


@pytest.mark.parametrize("count", [2, 3])
def test_codes_are_close_at_every_tier(tiny: Config, make_head: MakeHead, count: int) -> None:
    config = dataclasses.replace(tiny, digits=count)
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
            most = 1.2 if (name, count, tier) == ("value", 3, Tier.FULL) else 0.35
            assert 0.25 * weight < deviation < most * weight, (name, tier)


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("shape_keys", [True, False])
@pytest.mark.parametrize("steps", [(3, 4), (4, 3), (2, 2)])
def test_operands_are_the_quantised_vectors(
    tiny: Config, make_head: MakeHead, steps: tuple[int, int], shape_keys: bool, rotate: bool
) -> None:
    config = dataclasses.replace(
        tiny, key_digit_step=steps[0], value_digit_step=steps[1], rotate=rotate, shape_keys=shape_keys
    )
    prepared = prepare(config, make_head((2, 5, 6), 4))
    got = prepared.operands
    # The exponent that the core sees counts what the integers count, and what the factor does.
    power = round(math.log2(unit(config, prepared.key_statistics.exponent))) + prepared.factor[1]
    key = scaled(config, prepared.key_vector, prepared.factor[0], got.key_mantissa, got.key_exponent - power)
    if shape_keys:
        assert (got.key_digits == shaped(config, key, feedback(config, prepared.query), steps[0])).all()
    else:
        assert (got.key_digits == nearest(config, key, steps[0])).all()
    power = round(math.log2(unit(config, prepared.value_statistics.exponent)))
    exponent = got.output_exponent - config.scale_bits - got.value_shift - power
    value = scaled(config, prepared.value_vector, ONE, got.value_mantissa, exponent)
    assert (got.value_digits == nearest(config, value, steps[1])).all()
    for units, step in ((key, steps[0]), (value, steps[1])):
        # Scales are rounded up by one step of 32 at most, and inverses by 2**-14: see test_quantise.
        most = np.abs(units).max(axis=1) / (1 << CODE_FRACTION_BITS) / config.code_max(step)
        assert (most <= 1 + 2.0**-9).all()
        assert (most > 1 / (1 + 1 / 32) - 2.0**-9).all()
    # The largest value there can be has the least shift: no value needs more.
    assert 0 <= got.value_shift.min() <= 3


def test_rows_of_other_tiles_are_found(tiny: Config, make_head: MakeHead) -> None:
    config = dataclasses.replace(tiny, rotate=False)
    head = make_head((2, 5, 6), 4)
    head.q[17, 2] = np.nan
    prepared = prepare(config, head)
    tokens = np.array([63, 5, 17, 0])
    rows = Tiles(tokens, np.zeros(4, np.int64), np.arange(4), np.array([0, 4]), 4)
    assert (prepared.query_tiles.order[prepared.places(rows)] == tokens).all()
    wanted = as_words(config, head).q[tokens]
    # Rounded to 2**-14 of the row's largest power of two.
    room = 2.0 ** np.floor(np.log2(np.abs(wanted).max(axis=1, keepdims=True))) * 2.0**-14 / 2
    assert (np.abs(prepared.rows_of(rows) - wanted) <= room)[[0, 1, 3]].all()
    assert np.isnan(prepared.rows_of(rows)[2]).all()
    assert not prepared.finite_rows_of(rows)[2].any()


def test_operations_by_hand(tiny: Config) -> None:
    # A token of 8 channels in 16: two means found and subtracted, three rotations of 4 stages, largest magnitudes of
    # keys and values, and three digits of each.
    plain = 4 * 8 + 3 * 16 * 4 + 2 * 16 + 2 * 16 * 3
    assert operations(tiny, 5, 8) == 5 * plain
    assert operations(dataclasses.replace(tiny, rotate=False), 5, 8) == 5 * (plain - 3 * 16 * 4)
    # Moments of queries, and feedback for each digit: half a square each.
    assert operations(dataclasses.replace(tiny, shape_keys=True), 5, 8) == 5 * (plain + 16 * 17 // 2 * 4)
