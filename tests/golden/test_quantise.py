from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import DIGIT_MAX, DIGIT_MIN, Config, Tier
from golden.digits import seen
from golden.quantise import (
    CODE_FRACTION_BITS,
    DAMPING,
    FACTOR_BITS,
    FEEDBACK_BITS,
    INVERSE_BITS,
    ONE,
    feedback,
    nearest,
    returned,
    scaled,
    scales,
    shaped,
)
from tests.golden.by_hand import nearest as to_nearest
from tests.golden.by_hand import power

CASES = pytest.mark.parametrize(("count", "step"), list(itertools.product([2, 3], [2, 3, 4])))
SHAPING = Config(shape_keys=True)
UNIT = 1 << CODE_FRACTION_BITS
FACTORS = st.just(ONE) | st.integers(ONE, 2 * ONE - 1)


def uniform(most: float, shape: tuple[int, ...], seed: int = 7) -> np.ndarray:
    """Numbers in units of their scale."""
    return np.rint(np.random.default_rng(seed).uniform(-most, most, shape) * UNIT).astype(np.int64)


def scale_by_hand(config: Config, largest: int, factor: int, step: int, least: int) -> tuple[int, int]:
    """The least mantissa and exponent of scale_bits bits that a largest magnitude needs."""
    half = 2 ** (config.scale_bits - 1)
    product = largest * factor * math.ceil(Fraction(2**INVERSE_BITS, config.code_max(step)))
    if not product:
        return half, least
    shift = next(n for n in itertools.count() if math.ceil(product / power(n)) < 2 * half)
    exponent = shift - INVERSE_BITS - (FACTOR_BITS - 1)
    return (math.ceil(product / power(shift)), exponent) if exponent >= least else (half, least)


def scaled_by_hand(config: Config, number: int, factor: int, mantissa: int, exponent: int) -> int:
    """One number times the factor over its scale, with the inverse of the mantissa as the table has it."""
    bits = config.scale_bits + FACTOR_BITS - 2
    gain = to_nearest(Fraction(factor * to_nearest(Fraction(2**bits, mantissa)), ONE))
    return to_nearest(number * gain * power(CODE_FRACTION_BITS - bits - exponent))


def digits_by_hand(config: Config, number: int, step: int) -> list[int]:
    """The digits of one number in units of its scale, each to nearest of what the ones before left."""
    weights = [UNIT * 2 ** (step * n) for n in reversed(range(config.digits))]
    digits, rest = [], number
    for n, weight in enumerate(weights):
        least = DIGIT_MIN if n else -DIGIT_MAX
        digits.append(max(least, min(DIGIT_MAX, to_nearest(Fraction(rest, weight)))))
        rest -= digits[-1] * weight
        if n == 0:
            # What clipping at the top takes of a rest that lies anywhere in half a unit, on average.
            over = max(Fraction(0), Fraction(weights[0], 2) - DIGIT_MAX * sum(weights[1:]))
            rest += round(over * over / 2 / weights[0])
    return digits


def shaped_by_hand(config: Config, key: list[int], back: np.ndarray, step: int) -> list[list[int]]:
    """The digits [digits][channels] of one key, in Python's integers."""
    channels = len(key)
    rest = key
    digits = []
    for n in reversed(range(config.digits)):
        unit = 2 ** (step * n) * UNIT
        reach = DIGIT_MAX * sum(2 ** (step * m) * UNIT for m in range(n))
        error, row = [0] * channels, [0] * channels
        for c in reversed(range(channels)):
            pushed = sum(int(back[c, later]) * error[later] for later in range(c + 1, channels)) // 2**FEEDBACK_BITS
            allowed = [d for d in range(DIGIT_MIN, DIGIT_MAX + 1) if not n or abs(rest[c] - d * unit) <= reach]
            wanted = (rest[c] + pushed + unit // 2) // unit
            # Digits that weigh 16 times the next leave gaps between what their followers reach.
            row[c] = min(
                allowed or [min(DIGIT_MAX, (rest[c] + reach) // unit)], key=lambda d, wanted=wanted: abs(d - wanted)
            )
            error[c] = rest[c] - row[c] * unit
        digits.append(row)
        rest = error
    return digits


@given(
    st.integers(2, 8),
    st.integers(2, 3),
    st.integers(2, 4),
    FACTORS,
    st.lists(st.integers(-(1 << 25), 1 << 25) | st.integers(-9, 9), min_size=2, max_size=6),
    st.integers(-140, 20) | st.none(),
    st.integers(-2, 2),
)
def test_scales_are_rounded_up_so_that_no_code_clips(
    bits: int, count: int, step: int, factor: int, vector: list[int], least: int | None, beside: int
) -> None:
    config = Config(scale_bits=bits, digits=count)
    largest = np.array([max(map(abs, vector)), 0])
    if least is None:  # or near the exponent that the vector has
        least = scale_by_hand(config, int(largest[0]), factor, step, -140)[1] + beside
    mantissa, exponent = scales(config, largest, factor, step, least)
    found = list(zip(mantissa.tolist(), exponent.tolist(), strict=True))
    assert found == [scale_by_hand(config, n, factor, step, least) for n in largest.tolist()]
    units = scaled(config, np.array([vector, vector]), factor, mantissa, exponent)[0]
    assert units.tolist() == [scaled_by_hand(config, x, factor, *found[0]) for x in vector]
    # The scale is no less than is needed, and one step of the mantissa more at most, but for the inverse of a code,
    # rounded up.
    half, needed = 1 << (bits - 1), Fraction(int(largest[0]) * factor, ONE * config.code_max(step))
    scale = found[0][0] * power(found[0][1])
    assert half <= found[0][0] < 2 * half
    assert scale >= needed
    if found[0][1] > least:
        assert scale <= needed * (1 + Fraction(1, half)) * (1 + Fraction(config.code_max(step), 1 << INVERSE_BITS))
    # A scale's inverse, of 15 bits, and the gain are rounded: by 2**-15 each; and so are units, to half a sixteenth.
    for x, unit in zip(vector, units.tolist(), strict=True):
        exact = x * Fraction(factor, ONE) / scale * UNIT
        assert abs(unit - exact) <= abs(exact) * power(-14) + Fraction(1, 2)
        assert abs(unit) <= UNIT * config.code_max(step) * (1 + power(-14)) + Fraction(1, 2)


@pytest.mark.parametrize("bits", [12, 20])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_longest_vectors_do_not_overflow(bits: int, sign: int) -> None:
    config = Config(head_dim=256, input_bits=bits, digits=2, scale_bits=8)
    most = (1 << (config.rotated_bits - 1)) - 1
    for number, factor in itertools.product([most, most - 1, most // 2 + 1], [ONE, 2 * ONE - 1]):
        mantissa, exponent = scales(config, np.array([number]), factor, 2, -200)
        assert (mantissa[0], exponent[0]) == scale_by_hand(config, number, factor, 2, -200)
        got = scaled(config, np.array([[sign * number]]), factor, mantissa, exponent)
        assert got == scaled_by_hand(config, sign * number, factor, int(mantissa[0]), int(exponent[0]))


@CASES
def test_values_are_rounded_digit_by_digit(count: int, step: int) -> None:
    config = Config(digits=count)
    most = config.code_max(step) * UNIT + 3  # a little beyond, as inexact inverses may lead to
    values = np.concatenate([np.arange(-most, most + 1, 1 if count == 2 else 7), [most, 0, 1, -1]])
    got = nearest(config, values[:, None], step)
    assert got[:, :, 0].T.tolist() == [digits_by_hand(config, value, step) for value in values.tolist()]


@CASES
def test_numbers_beyond_all_codes_saturate(count: int, step: int) -> None:
    config = Config(digits=count)
    got = nearest(config, np.array([[1 << 30, -(1 << 30)]]), step)[:, 0].astype(int)
    assert got[:, 0].tolist() == [DIGIT_MAX] * count
    assert got[:, 1].tolist() == [-DIGIT_MAX] + [DIGIT_MIN] * (count - 1)


@CASES
def test_what_is_returned_is_the_mean_of_what_clips(count: int, step: int) -> None:
    config = Config(digits=count)
    weight, *others = config.digit_weights(step)
    rest = np.arange(-weight * UNIT // 2, weight * UNIT // 2) + 0.5
    lost = np.maximum(rest - DIGIT_MAX * sum(others) * UNIT, 0).mean()
    assert abs(returned(config, step) - lost) <= 0.5
    assert bool(returned(config, step)) == ((count, step) == (3, 4))


@CASES
def test_no_tier_is_biased_that_many_values_pass_through(count: int, step: int) -> None:
    config = Config(digits=count)
    weight = config.digit_weights(step)[0]
    values = uniform(7 * weight, (4096, 64))
    read = seen(config, nearest(config, values, step), step)
    # Ties go up, by half of what a digit weighs: one number in sixteen, or fewer where it weighs more.
    assert abs((read[Tier.LUT4] - values / UNIT).mean()) < 0.5 / UNIT + 0.003 * weight
    # What is returned is a whole sixteenth.
    assert abs((read[Tier.FULL] - values / UNIT).mean()) < 0.5 / UNIT + 0.5 / UNIT + 0.005


@CASES
def test_more_digits_are_more_exact(count: int, step: int) -> None:
    config = Config(digits=count)
    weight = config.digit_weights(step)[0]
    values = uniform(7 * weight, (4096, 16))
    read = seen(config, nearest(config, values, step), step)
    error = [float(np.sqrt(np.square(read[tier] - values / UNIT).mean())) / weight for tier in Tier]
    assert error[0] == pytest.approx(12**-0.5, rel=0.01)
    assert error[1] < error[0] / 2 ** (step - 1)
    assert (error[2] < error[1] / 1.9) == (count == 3)


@CASES
def test_every_tier_is_within_half_a_unit_where_digits_overlap(count: int, step: int) -> None:
    config = Config(digits=count)
    weights = config.digit_weights(step)
    values = uniform(config.code_max(step), (500, 8))
    read = seen(config, nearest(config, values, step), step)
    assert np.abs(read[Tier.LUT4] * UNIT - values).max() <= weights[0] * UNIT / 2
    if step < 4:
        assert np.abs(read[Tier.LUT8] * UNIT - values).max() <= weights[1] * UNIT / 2
        assert np.abs(read[Tier.FULL] * UNIT - values).max() <= UNIT / 2


def moments_by_hand(query: np.ndarray) -> np.ndarray:
    """Second moments of the finite rows, damped."""
    size = query.shape[1]
    finite = [row for row in query.tolist() if all(map(math.isfinite, row))]
    moments = [[math.fsum(row[i] * row[j] for row in finite) for j in range(size)] for i in range(size)]
    mean = sum(moments[i][i] for i in range(size)) / size
    for i in range(size):
        moments[i][i] += DAMPING * mean if mean else 1.0
    return np.array(moments)


@pytest.mark.parametrize("case", ["normal", "invalid", "zero", "one direction", "fewer rows than channels", "huge"])
def test_feedback_is_the_factor_of_the_moments(case: str) -> None:
    rows, size = (3 if case.startswith("fewer") else 40), 8
    query = np.random.default_rng(1).standard_normal((rows, size)) @ np.tri(size)
    if case == "invalid":
        query[::3, 4] = np.nan
        query[1::9, 2] = np.inf
    elif case == "zero":
        query[:] = 0
    elif case == "one direction":
        query = np.outer(query[:, 0], np.arange(size) - 3.0)
    elif case == "huge":
        query *= 2.0**100
    moments = moments_by_hand(query)
    factor = np.eye(size)
    # Elimination: what a channel's error costs, with all later ones at their best, is one square after another.
    left = moments.copy()
    for i in range(size):
        factor[i, i:] = left[i, i:] / left[i, i]
        left = left - np.outer(left[i], left[i]) / left[i, i]
    got = feedback(SHAPING, query)
    wanted = np.triu(factor, 1) * 2**FEEDBACK_BITS
    assert got.dtype == np.int64
    assert np.abs(got - wanted).max() <= 0.5 + 1e-6
    assert got.any() == (case != "zero")
    assert not feedback(Config(), query).any()


@CASES
@pytest.mark.parametrize("strength", [0, 1, 40])
def test_keys_are_rounded_with_feedback_as_plain_loops_do(count: int, step: int, strength: int) -> None:
    config = Config(digits=count)
    rng = np.random.default_rng(count * step + strength)
    most = config.code_max(step)
    keys = uniform(most, (30, 8), seed=count * step + strength)
    keys[0], keys[1], keys[2, ::2], keys[3] = most * UNIT + 2, -most * UNIT - 2, most * UNIT, 0
    back = np.triu(rng.integers(-256 * strength, 256 * strength + 1, (8, 8)), 1)
    got = shaped(config, keys, back, step)
    for token, key in enumerate(keys.tolist()):
        assert got[:, token].tolist() == shaped_by_hand(config, key, back, step), token


@given(st.data(), st.integers(2, 3), st.integers(2, 3))
def test_the_last_digit_always_reaches_what_the_others_left(data: st.DataObject, count: int, step: int) -> None:
    config = Config(digits=count)
    most = config.code_max(step) * UNIT
    keys = np.array([data.draw(st.lists(st.integers(-most, most), min_size=4, max_size=4))])
    back = np.triu(np.array(data.draw(st.lists(st.integers(-9999, 9999), min_size=16, max_size=16))).reshape(4, 4), 1)
    got = shaped(config, keys, back, step).astype(int)
    assert got.min() >= DIGIT_MIN
    assert got.max() <= DIGIT_MAX
    rest = keys[0].copy()
    for n, weight in enumerate(config.digit_weights(step)):
        rest = rest - got[n, 0] * weight * UNIT
        # The last digit may be pushed as far as its range allows.
        room = DIGIT_MAX * sum(config.digit_weights(step)[n + 1 :]) if n < count - 1 else DIGIT_MAX - DIGIT_MIN
        assert np.abs(rest).max() <= room * UNIT
    # The last channel gets no feedback: it is off by half a unit at most.
    assert abs(rest[-1]) <= UNIT // 2


@pytest.mark.parametrize("tier", Tier)
def test_feedback_moves_errors_where_queries_do_not_look(tier: Tier) -> None:
    config = dataclasses.replace(SHAPING, digits=3)
    step = config.key_digit_step
    rng = np.random.default_rng(2)
    # Queries of a few strong directions, as those of trained heads are.
    query = rng.standard_normal((256, 4)) @ rng.standard_normal((4, 16)) + 0.1 * rng.standard_normal((256, 16))
    keys = uniform(config.code_max(step), (200, 16))
    plain = dataclasses.replace(config, shape_keys=False)
    errors = [
        np.linalg.norm(
            query @ (seen(each, shaped(each, keys, feedback(each, query), step), step)[tier] - keys / UNIT).T
        )
        for each in (config, plain)
    ]
    assert errors[0] < 0.7 * errors[1]
