from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import DIGIT_MAX, DIGIT_MIN, Config, Tier
from golden.digits import seen
from golden.quantise import DAMPING, ERROR_BITS, FEEDBACK_BITS, feedback, nearest, scaled, scales, shaped

CASES = pytest.mark.parametrize(("count", "step"), list(itertools.product([2, 3], [2, 3, 4])))


def rounded(value: float) -> int:
    return math.floor(value + 0.5)


def nearest_by_hand(config: Config, value: float, step: int) -> list[int]:
    """The digits of one value: the first to nearest, then the others together, as far as they reach."""
    weights = [2 ** (step * n) for n in reversed(range(config.digits))]
    half, ones = 2 ** (step - 1), sum(weights[1:])
    first = max(DIGIT_MIN + 1, min(DIGIT_MAX, round(value / weights[0])))
    # What clipping at the top takes of a rest that lies anywhere in half a unit, on average.
    over = max(0.0, weights[0] / 2 - (half - 1) * ones)
    rest = round(value - first * weights[0] + over * over / 2 / weights[0])
    rest = max(-half * ones, min((half - 1) * ones, rest))
    digits = [first]
    for n in range(1, config.digits):
        # The digits that follow reach from -half to half - 1 units each; the only digit that leaves them the rest.
        after = sum(weights[n + 1 :])
        (digit,) = [d for d in range(-half, half) if -half * after <= rest - d * weights[n] <= (half - 1) * after]
        digits.append(digit)
        rest -= digit * weights[n]
    assert rest == 0
    return digits


def shaped_by_hand(config: Config, key: list[float], back: np.ndarray, step: int) -> list[list[int]]:
    """The digits [digits][channels] of one key, in Python's integers."""
    channels = len(key)
    rest = [round(value * 2**ERROR_BITS) for value in key]
    digits = []
    for n in reversed(range(config.digits)):
        unit = 2 ** (step * n + ERROR_BITS)
        reach = DIGIT_MAX * sum(2 ** (step * m + ERROR_BITS) for m in range(n))
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
    st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=6),
    st.integers(-140, 0),
)
def test_scales_are_rounded_up_so_that_no_code_clips(
    bits: int, count: int, step: int, vector: list[float], least: int
) -> None:
    config = Config(scale_bits=bits, digits=count)
    mantissa, exponent = scales(config, np.array([vector, [0.0] * len(vector)]), step, least)
    scale = [math.ldexp(int(m), int(e)) for m, e in zip(mantissa, exponent, strict=True)]
    half, needed = 1 << (bits - 1), max(map(abs, vector)) / config.code_max(step)
    assert all(half <= m < 2 * half for m in mantissa)
    assert scale[1] == math.ldexp(half, least)
    assert scale[0] >= needed
    assert scale[0] == scale[1] or scale[0] <= needed * (1 + 1 / half) * (1 + 1e-15)
    assert exponent[0] >= least
    units = scaled(np.array([vector]), mantissa[:1], exponent[:1])
    assert np.abs(units).max() <= config.code_max(step)
    assert units[0].tolist() == [x / scale[0] for x in vector]


@CASES
def test_values_are_rounded_digit_by_digit(count: int, step: int) -> None:
    config = Config(digits=count)
    most = config.code_max(step)
    rng = np.random.default_rng(step)
    values = np.concatenate([rng.uniform(-most, most, 300), np.linspace(-most, most, 4 * most + 1), [0.0, 1e-9]])
    got = nearest(config, values[:, None], step)
    assert got[:, :, 0].T.tolist() == [nearest_by_hand(config, value, step) for value in values.tolist()]


@CASES
def test_no_tier_is_biased_that_many_values_pass_through(count: int, step: int) -> None:
    config = Config(digits=count)
    weight = config.digit_weights(step)[0]
    values = np.random.default_rng(7).uniform(-7 * weight, 7 * weight, (4096, 64))
    read = seen(config, nearest(config, values, step), step)
    assert abs((read[Tier.LUT4] - values).mean()) < 0.003 * weight
    # In units of the last digit; the mean of what clipping takes is that of values, not of rounded ones.
    assert abs((read[Tier.FULL] - values).mean()) < {2: 0.06, 3: 0.016, 4: 0.005}[step]


@CASES
def test_more_digits_are_more_exact(count: int, step: int) -> None:
    config = Config(digits=count)
    weight = config.digit_weights(step)[0]
    values = np.random.default_rng(7).uniform(-7 * weight, 7 * weight, (4096, 16))
    read = seen(config, nearest(config, values, step), step)
    error = [float(np.sqrt(np.square(read[tier] - values).mean())) / weight for tier in Tier]
    assert error[0] == pytest.approx(12**-0.5, rel=0.01)
    assert error[1] < error[0] / 2 ** (step - 1)
    assert (error[2] < error[1] / 1.9) == (count == 3)


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
    got = feedback(Config(), query)
    wanted = np.triu(factor, 1) * 2**FEEDBACK_BITS
    assert got.dtype == np.int64
    assert np.abs(got - wanted).max() <= 0.5 + 1e-6
    assert got.any() == (case != "zero")
    assert not feedback(Config(shape_keys=False), query).any()


@CASES
@pytest.mark.parametrize("strength", [0, 1, 40])
def test_keys_are_rounded_with_feedback_as_plain_loops_do(count: int, step: int, strength: int) -> None:
    config = Config(digits=count)
    rng = np.random.default_rng(count * step + strength)
    most = config.code_max(step)
    keys = rng.uniform(-most, most, (30, 8))
    keys[0], keys[1], keys[2, ::2], keys[3] = most, -most, most, 0
    back = np.triu(rng.integers(-256 * strength, 256 * strength + 1, (8, 8)), 1)
    got = shaped(config, keys, back, step)
    for token, key in enumerate(keys.tolist()):
        assert got[:, token].tolist() == shaped_by_hand(config, key, back, step), token


@given(st.data(), st.integers(2, 3), st.integers(2, 3))
def test_the_last_digit_always_reaches_what_the_others_left(data: st.DataObject, count: int, step: int) -> None:
    config = Config(digits=count)
    most = config.code_max(step)
    keys = np.array([data.draw(st.lists(st.floats(-most, most), min_size=4, max_size=4))])
    back = np.triu(np.array(data.draw(st.lists(st.integers(-9999, 9999), min_size=16, max_size=16))).reshape(4, 4), 1)
    got = shaped(config, keys, back, step).astype(int)
    assert got.min() >= DIGIT_MIN
    assert got.max() <= DIGIT_MAX
    rest = keys[0].copy()
    for n, weight in enumerate(config.digit_weights(step)):
        rest = rest - got[n, 0] * weight
        # The last digit may be pushed as far as its range allows.
        room = DIGIT_MAX * sum(config.digit_weights(step)[n + 1 :]) if n < count - 1 else DIGIT_MAX - DIGIT_MIN
        assert np.abs(rest).max() <= room + 2.0**-ERROR_BITS
    # The last channel gets no feedback: it is off by half a unit at most.
    assert abs(rest[-1]) <= 0.5 + 2.0**-ERROR_BITS


@pytest.mark.parametrize("count", [2, 3])
def test_without_feedback_every_tier_rounds_to_nearest(count: int) -> None:
    config = Config(digits=count, shape_keys=False)
    step = config.key_digit_step
    most = config.code_max(step)
    keys = np.random.default_rng(0).uniform(-most, most, (500, 8))
    read = seen(config, shaped(config, keys, feedback(config, keys), step), step)
    weight = config.digit_weights(step)
    inside = np.abs(keys) <= 7.5 * weight[0]
    assert np.abs(read[Tier.LUT4] - keys)[inside].max() <= weight[0] / 2
    assert np.abs(read[Tier.LUT8] - keys)[inside].max() <= weight[1] / 2 + 2.0**-ERROR_BITS
    assert np.abs(read[Tier.FULL] - keys).max() <= 0.5 + 2.0**-ERROR_BITS


@pytest.mark.parametrize("tier", Tier)
def test_feedback_moves_errors_where_queries_do_not_look(tier: Tier) -> None:
    config = Config(digits=3)
    step = config.key_digit_step
    rng = np.random.default_rng(2)
    # Queries of a few strong directions, as those of trained heads are.
    query = rng.standard_normal((256, 4)) @ rng.standard_normal((4, 16)) + 0.1 * rng.standard_normal((256, 16))
    keys = rng.uniform(-config.code_max(step), config.code_max(step), (200, 16))
    plain = dataclasses.replace(config, shape_keys=False)
    errors = [
        np.linalg.norm(query @ (seen(each, shaped(each, keys, feedback(each, query), step), step)[tier] - keys).T)
        for each in (config, plain)
    ]
    assert errors[0] < 0.7 * errors[1]
