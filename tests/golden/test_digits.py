from __future__ import annotations

import numpy as np
import pytest

from golden.config import DIGIT_MAX, DIGIT_MIN, Config
from golden.digits import codes_of, digits


def every_code(config: Config) -> np.ndarray:
    ones = config.code_max // DIGIT_MAX
    return np.arange(DIGIT_MIN * ones, DIGIT_MAX * ones + 1)


@pytest.mark.parametrize("count", [2, 3])
def test_every_code_is_the_weighted_sum_of_its_digits(count: int) -> None:
    config = Config(digits=count)
    codes = every_code(config)
    parts = digits(config, codes)
    assert len(codes) == 16**count
    assert parts.dtype == np.int8
    assert (parts.min(), parts.max()) == (DIGIT_MIN, DIGIT_MAX)
    weights = 16 ** np.arange(count)[::-1]
    assert (weights @ parts.astype(int) == codes).all()
    assert len(np.unique(parts, axis=1).T) == len(codes)


@pytest.mark.parametrize("count", [2, 3])
def test_codes_of_inverts_digits(count: int) -> None:
    config = Config(digits=count)
    codes = every_code(config).reshape(-1, 16)
    assert (codes_of(config, digits(config, codes)) == codes).all()


@pytest.mark.parametrize("count", [2, 3])
def test_dropping_digits_rounds_to_nearest(count: int) -> None:
    config = Config(digits=count)
    codes = every_code(config)
    for kept in range(1, count):
        unit = 16 ** (count - kept)
        seen = codes_of(config, digits(config, codes)[:kept]).astype(int) * unit
        rest = codes - seen
        # Half a unit and the carry of the digits below: -8.88 / 16 .. 7.77 / 16.
        assert rest.min() >= DIGIT_MIN * (unit - 1) // 15
        assert rest.max() <= DIGIT_MAX * (unit - 1) // 15


def test_code_max_has_only_the_largest_digit() -> None:
    config = Config(digits=3)
    assert (digits(config, np.array([config.code_max])) == DIGIT_MAX).all()
    assert (digits(config, np.array([-config.code_max])) == -DIGIT_MAX).all()


@pytest.mark.parametrize(("count", "code"), [(2, 120), (2, -137), (3, 1912), (3, -2185)])
def test_codes_beyond_the_digits_are_refused(count: int, code: int) -> None:
    with pytest.raises(ValueError, match=rf"codes span .*{code}.*must be in"):
        digits(Config(digits=count), np.array([0, code]))
