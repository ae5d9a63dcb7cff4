from __future__ import annotations

import itertools

import numpy as np
import pytest

from golden.config import DIGIT_MAX, DIGIT_MIN, Config, Tier
from golden.digits import digits, seen

CASES = pytest.mark.parametrize(("count", "step"), list(itertools.product([2, 3], [2, 3, 4])))


def every_code(count: int, step: int) -> np.ndarray:
    """All codes whose last digits are in -2**(step - 1)..2**(step - 1) - 1 and whose first is a digit."""
    half = 1 << (step - 1)
    ranges = [range(DIGIT_MIN, DIGIT_MAX + 1), *[range(-half, half)] * (count - 1)]
    weights = [2 ** (step * n) for n in reversed(range(count))]
    return np.array([sum(d * w for d, w in zip(each, weights, strict=True)) for each in itertools.product(*ranges)])


@CASES
def test_every_code_is_the_weighted_sum_of_its_digits(count: int, step: int) -> None:
    codes = every_code(count, step)
    parts = digits(Config(digits=count), codes, step)
    assert parts.dtype == np.int8
    assert parts.min() == DIGIT_MIN
    assert parts.max() == DIGIT_MAX
    weights = 2 ** (step * np.arange(count)[::-1])
    assert (weights @ parts.astype(int) == codes).all()
    assert len(np.unique(codes)) == len(np.unique(parts, axis=1).T) == 16 << (step * (count - 1))


@CASES
def test_dropping_digits_rounds_to_nearest(count: int, step: int) -> None:
    codes = every_code(count, step)
    parts = digits(Config(digits=count), codes, step).astype(int)
    for kept in range(1, count):
        unit = 2 ** (step * (count - kept))
        rest = codes - sum(parts[i] * 2 ** (step * (count - 1 - i)) for i in range(kept))
        # A code below is one of digits from -half to half - 1: a half of a unit, or what those digits' sum is off it.
        ones = sum(2 ** (step * n) for n in range(count - kept))
        assert (rest.min(), rest.max()) == (-(2 ** (step - 1)) * ones, (2 ** (step - 1) - 1) * ones)
        assert np.abs(rest).max() <= unit / 2 * (1 + 1 / (2**step - 1))


@CASES
def test_tiers_see_the_leading_digits(count: int, step: int) -> None:
    config = Config(digits=count)
    parts = np.random.default_rng(0).integers(DIGIT_MIN, DIGIT_MAX + 1, (count, 20, 16)).astype(np.int8)
    got = seen(config, parts, step)
    assert set(got) == set(Tier)
    for tier, codes in got.items():
        for place in np.ndindex(20, 16):
            read = [int(parts[i][place]) << (step * (count - 1 - i)) for i in range(config.passes(tier))]
            assert codes[place] == sum(read)


@pytest.mark.parametrize(
    ("count", "step", "code"),
    [(2, 4, 120), (2, 4, -137), (3, 4, 1912), (3, 4, -2185), (2, 3, 60), (2, 3, -69), (3, 2, 118), (3, 2, -139)],
)
def test_codes_beyond_the_digits_are_refused(count: int, step: int, code: int) -> None:
    config = Config(digits=count)
    with pytest.raises(ValueError, match=rf"codes span .*{code}.*of {count} digits must be in -8\.\.7"):
        digits(config, np.array([0, code]), step)
    inside = code - 1 if code > 0 else code + 1
    assert digits(config, np.array([0, inside]), step)[0, 1] == (DIGIT_MAX if code > 0 else DIGIT_MIN)
