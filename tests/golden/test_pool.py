from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden import pool as module
from golden.config import Config
from golden.pool import Pooled, pool, reciprocal
from tests.golden.by_hand import Sum, pooled
from tests.golden.by_hand import reciprocal as reciprocal_by_hand


def sums(found: Pooled) -> list[Sum]:
    return [Sum(*each) for each in zip(found.mantissa.tolist(), found.exponent.tolist(), found.size, strict=True)]


@st.composite
def parts(draw: st.DrawFn) -> tuple[Config, np.ndarray, np.ndarray, np.ndarray]:
    """Rows in parts of unlike sizes, small and of the largest there can be, with one exponent or one each."""
    config = Config(head_dim=16, pool_bits=draw(st.integers(6, 14)), input_bits=draw(st.integers(12, 20)))
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    most = (1 << (config.rotated_bits - 1)) - 1
    rows = rng.integers(-most - 1, most + 1, (sum(sizes), 16))
    content = draw(st.sampled_from(["any", "small", "zero", "largest", "least"]))
    if content == "small":
        rows >>= config.rotated_bits - 3
    elif content in ("zero", "largest", "least"):
        rows[:] = {"zero": 0, "largest": most, "least": -most}[content]
    exponent = rng.integers(1, draw(st.sampled_from([2, 4, 31, 255])), len(rows))
    return config, rows, exponent, np.append(0, np.cumsum(sizes))


@given(parts())
def test_pooling_follows_its_definition(case: tuple[Config, np.ndarray, np.ndarray, np.ndarray]) -> None:
    config, rows, exponent, start = case
    before = rows.copy(), exponent.copy()
    got = pool(config, rows, exponent, start)
    wanted = [pooled(config, rows[a:b].tolist(), exponent[a:b].tolist()) for a, b in pairwise(start.tolist())]
    assert sums(got) == wanted
    assert (rows == before[0]).all()
    assert (exponent == before[1]).all()


@given(parts())
def test_mantissas_fill_their_bits(case: tuple[Config, np.ndarray, np.ndarray, np.ndarray]) -> None:
    config, rows, exponent, start = case
    got = pool(config, rows, exponent, start)
    half = 1 << (config.pool_bits - 1)
    assert -half <= got.mantissa.min() <= got.mantissa.max() < half
    # The largest of a part has its leading bit set, unless all are zero or rounded from just below.
    largest = np.abs(got.mantissa).max(axis=1)
    assert ((largest == 0) | (largest >= half // 2)).all()


@given(parts())
def test_sums_are_close_to_the_exact_ones(case: tuple[Config, np.ndarray, np.ndarray, np.ndarray]) -> None:
    config, rows, exponent, start = case
    got = pool(config, rows, exponent, start)
    for part, (a, b) in enumerate(pairwise(start.tolist())):
        unit = Fraction(2) ** int(got.exponent[part])
        common = Fraction(2) ** int(exponent[a:b].max())
        for channel in range(16):
            exact = sum(int(rows[n, channel]) * Fraction(2) ** int(exponent[n]) for n in range(a, b))
            # Half a unit, a whole one where the largest saturates; every row is rounded down once, and so is the sum
            # whenever the exponent rises.
            allowed = unit + 2 * (b - a) * common
            assert abs(int(got.mantissa[part, channel]) * unit - exact) <= allowed


def test_the_largest_parts_do_not_overflow() -> None:
    config = Config(head_dim=256, tile=1024, query_rows=1024, input_bits=20, pool_bits=14)
    rows = np.full((2048, 256), (1 << (config.rotated_bits - 1)) - 1)
    rows[1024:] *= -1
    got = pool(config, rows, np.full(2048, 30), np.array([0, 1024, 2048]))
    assert sums(got) == [pooled(config, [[x] * 256] * 1024, [30] * 1024) for x in rows[::2047, 0].tolist()]


def test_exponents_rise_and_fall_by_hand() -> None:
    config = Config(head_dim=16, pool_bits=6)
    rows = np.zeros((3, 16), np.int64)
    rows[:, 0], rows[:, 1] = [7, 16, 5], [-7, 1, -5]
    got = pool(config, rows, np.array([1, 3, 2]), np.array([0, 3]))
    # At exponent 3: 7 >> 2 = 1, and 16, and 5 >> 1 = 2; -7 >> 2 = -2, and 1, and -5 >> 1 = -3. 19 has five bits.
    assert got.mantissa[0, :3].tolist() == [19, -4, 0]
    assert (got.exponent.tolist(), got.size.tolist()) == ([3], [3])


def test_one_row_keeps_its_leading_bits() -> None:
    config = Config(head_dim=16, pool_bits=9)
    rows = np.zeros((1, 16), np.int64)
    rows[0, :4] = 0x7F80, -0x7F80, 0x7FFF, 64  # 15 bits: seven are lost, and 64 is half of what is left
    got = pool(config, rows, np.array([5]), np.array([0, 1]))
    assert got.mantissa[0, :4].tolist() == [255, -255, 255, 1]
    assert got.exponent.tolist() == [5 + 7]


@pytest.mark.parametrize("size", [*range(1, 70), 100, 1000, 1023, 1024])
def test_reciprocals_are_nearest(size: int) -> None:
    mantissa, exponent = (int(x[0]) for x in reciprocal(np.array([size])))
    assert (mantissa, exponent) == reciprocal_by_hand(size)
    assert 1 << (module.RECIPROCAL_BITS - 2) <= mantissa < 1 << module.RECIPROCAL_BITS
    exact = Fraction(1 << exponent, size)
    assert abs(mantissa - exact) <= Fraction(1, 2)
    assert abs(mantissa / exact - 1) <= Fraction(1, 256)
    if size & (size - 1) == 0:
        assert mantissa == exact
