from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from golden.config import Config
from golden.softmax import Probabilities, exp2, initial_max, softmax

CONFIG = Config()
ONE = 1 << CONFIG.score_fraction_bits


def group(
    scores: np.ndarray, running_max: int | None = None, active: np.ndarray | None = None, config: Config = CONFIG
) -> Probabilities:
    """Softmax of one lane group [rows, lanes] whose value scales are all 2**-1; without the axis of groups."""
    rows, lanes = scores.shape
    start = initial_max(config) if running_max is None else running_max
    mask = np.ones(lanes, bool) if active is None else active
    half = np.full((1, lanes), 1 << (config.scale_bits - 1))
    p = softmax(config, scores[:, None], mask[None], np.full(rows, start), half, np.zeros((1, lanes), np.int64))
    return Probabilities(**{f.name: getattr(p, f.name)[:, 0] for f in dataclasses.fields(p)})


@pytest.mark.parametrize("prob_bits", [8, 12, 14, 16, 18])
@pytest.mark.parametrize("fraction_bits", [8, 10, 12])
def test_exp2_of_every_distance(fraction_bits: int, prob_bits: int) -> None:
    config = Config(score_fraction_bits=fraction_bits, prob_bits=prob_bits)
    distance = np.arange((prob_bits + 3) << fraction_bits)
    exact = np.exp2(-distance / (1 << fraction_bits)) * (1 << (prob_bits - 1))
    error = np.abs(exp2(config, distance) - np.minimum(exact, config.prob_max))
    # One unit for the roundings, and the method's error: one slope for every 2**-(high bits) of the fraction.
    low = fraction_bits // 3
    high = fraction_bits - low - (fraction_bits - low) // 2
    slope = np.log(2) ** 2 / 2 * 2.0 ** -(high + fraction_bits - low) * (1 << (prob_bits - 1))
    assert error.max() <= 1 + slope


def test_exp2_saturates_at_one_and_vanishes_far_away() -> None:
    assert exp2(CONFIG, np.array([0])).item() == CONFIG.prob_max
    far = np.array([CONFIG.prob_bits * ONE + 8, 1 << (CONFIG.score_bits + 1)])
    assert exp2(CONFIG, far).tolist() == [0, 0]


def test_equal_scores_give_equal_probabilities() -> None:
    p = group(np.full((3, 16), 5 * ONE + 77))
    assert (p.running_max == 6).all()
    assert (p.prob == p.prob[0, 0]).all()
    assert p.prob[0, 0] == exp2(CONFIG, np.array([ONE - 77]))
    assert (p.prob_sum == 16 * p.prob[0, 0]).all()


def test_a_single_key_gets_all_the_mass() -> None:
    active = np.arange(16) == 3
    p = group(np.full((1, 16), -9 * ONE), active=active)
    assert p.prob[0].tolist() == [CONFIG.prob_max if lane == 3 else 0 for lane in range(16)]
    assert p.prob_sum[0] == CONFIG.prob_max


def test_inactive_lanes_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(-5 * ONE, 5 * ONE, (4, 16))
    active = rng.random(16) < 0.5
    other = np.where(active[None, :], scores, 1000 * ONE)
    for field in dataclasses.fields(first := group(scores, active=active)):
        assert (getattr(first, field.name) == getattr(group(other, active=active), field.name)).all()
    assert (first.prob[:, ~active] == 0).all()


def test_a_group_without_active_lanes_changes_nothing() -> None:
    p = group(np.zeros((2, 16), np.int64), running_max=-7, active=np.zeros(16, bool))
    assert p.running_max.tolist() == [-7, -7]
    assert p.rescale.tolist() == [0, 0]
    assert not p.prob.any()


@pytest.mark.parametrize(
    ("running_max", "top", "new", "shift"),
    [(3, 3 * ONE, 3, 0), (3, 3 * ONE + 1, 4, 1), (3, -ONE, 3, 0), (-2, 5 * ONE - 1, 5, 7)],
)
def test_the_maximum_is_the_ceiling_and_never_falls(running_max: int, top: int, new: int, shift: int) -> None:
    p = group(np.array([[top, top - 9 * ONE]]), running_max=running_max)
    assert (p.running_max.item(), p.rescale.item()) == (new, shift)


def test_rescale_saturates_where_nothing_is_left() -> None:
    p = group(np.array([[900 * ONE]]))
    assert p.rescale.item() == CONFIG.output_sum_bits


def test_the_extreme_scores_stay_in_range() -> None:
    bound = 1 << (CONFIG.score_bits - 1)
    p = group(np.array([[-bound, bound - 1]]))
    assert p.running_max.item() == 1 << (CONFIG.score_integer_bits - 1)
    assert p.prob[0, 0] == 0
    assert p.prob[0, 1] == exp2(CONFIG, np.array([1])).item()


def test_lane_order_only_permutes() -> None:
    rng = np.random.default_rng(2)
    scores, order = rng.integers(-5 * ONE, 5 * ONE, (4, 16)), rng.permutation(16)
    first, second = group(scores), group(scores[:, order])
    assert (first.prob[:, order] == second.prob).all()
    assert (first.prob_sum == second.prob_sum).all()


def test_weights_are_scaled_probabilities_rounded_to_nearest() -> None:
    rng = np.random.default_rng(4)
    scores = rng.integers(-5 * ONE, 0, (8, 16))
    mantissa = rng.integers(1 << (CONFIG.scale_bits - 1), 1 << CONFIG.scale_bits, 16)
    shift = rng.integers(0, 1 << CONFIG.value_exponent_bits, 16)
    p = softmax(CONFIG, scores[:, None], np.ones((1, 16), bool), np.zeros(8, np.int64), mantissa[None], shift[None])
    exact = p.prob * np.ldexp(mantissa.astype(np.float64), -(CONFIG.scale_bits + shift))
    assert (p.weight == np.floor(exact + 0.5)).all()
    assert p.weight.max() < CONFIG.prob_max


def test_probabilities_approach_the_softmax() -> None:
    scores = np.random.default_rng(6).integers(-8 * ONE, 8 * ONE, (32, 16))
    p = group(scores)
    exact = np.exp2(scores / ONE)
    assert np.abs(p.prob / p.prob_sum[:, None] - exact / exact.sum(axis=1, keepdims=True)).max() < 4e-4


def test_groups_at_once_equal_one_after_another() -> None:
    rng = np.random.default_rng(9)
    rows, groups, lanes = 6, 40, 16
    scores = rng.integers(-20 * ONE, 20 * ONE, (rows, groups, lanes)) + np.arange(groups)[:, None] * ONE
    active = rng.random((groups, lanes)) < 0.7
    active[[3, 17]] = False
    mantissa = rng.integers(1 << (CONFIG.scale_bits - 1), 1 << CONFIG.scale_bits, (groups, lanes))
    shift = rng.integers(0, 8, (groups, lanes))
    before = rng.integers(-30, 10, rows)
    p = softmax(CONFIG, scores, active, before, mantissa, shift)
    for n in range(groups):
        one = slice(n, n + 1)
        single = softmax(CONFIG, scores[:, one], active[one], before, mantissa[one], shift[one])
        for field in dataclasses.fields(single):
            assert (getattr(single, field.name)[:, 0] == getattr(p, field.name)[:, n]).all(), (n, field.name)
        before = single.running_max[:, 0]
    assert (p.rescale > 0).any(axis=0).sum() > 10
