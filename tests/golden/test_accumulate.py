from __future__ import annotations

import numpy as np
import pytest

from golden.accumulate import accumulate


@pytest.mark.parametrize(
    ("total", "shift", "added", "expected"), [(7, 1, 0, 3), (-7, 1, 0, -4), (-1, 40, 5, 4), (5, 0, -9, -4)]
)
def test_earlier_sums_shift_towards_minus_infinity(total: int, shift: int, added: int, expected: int) -> None:
    assert accumulate(np.array([total]), np.array([shift]), np.array([added])).tolist() == [expected]


def test_each_row_has_its_own_shift_for_all_its_channels() -> None:
    total = np.full((3, 4), 1 << 10)
    got = accumulate(total, np.array([0, 1, 10]), np.ones((3, 4), np.int64))
    assert got.tolist() == [[1025] * 4, [513] * 4, [2] * 4]


def test_many_rescales_lose_less_than_two_units() -> None:
    rng = np.random.default_rng(8)
    total, exact = np.zeros(64, np.int64), np.zeros(64)
    for _ in range(200):
        shift, added = rng.integers(0, 3, 64), rng.integers(0, 1 << 13, 64)
        total, exact = accumulate(total, shift, added), exact / 2.0**shift + added
        # Every rescale loses under one unit and halves what was lost before; shifts of zero lose nothing.
        assert (np.abs(total - exact) < 2).all()
