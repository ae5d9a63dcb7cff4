from __future__ import annotations

import numpy as np
import pytest

from golden.config import Config
from golden.formats import FP16
from golden.normalise import bit_length, leading, normalise, reciprocal

CONFIG = Config()
VALID = np.zeros(1, bool)


def one(output_sum: int, prob_total: int, exponent: int = 0) -> int:
    return int(normalise(CONFIG, np.array([[output_sum]]), np.array([prob_total]), exponent, VALID)[0, 0])


def test_reciprocal_of_every_mantissa() -> None:
    mantissa = np.arange(1 << (CONFIG.reciprocal_bits - 1), 1 << CONFIG.reciprocal_bits)
    got = reciprocal(CONFIG, mantissa)
    exact = 2.0 ** (2 * CONFIG.reciprocal_bits - 1) / mantissa
    assert np.abs(got / exact - 1).max() < 4 * 2.0**-16
    assert got.min() >= 1 << (CONFIG.reciprocal_bits - 1)
    assert got.max() < 1 << CONFIG.reciprocal_bits


def test_bit_lengths_and_leading_bits() -> None:
    values = np.concatenate([[0], 1 << np.arange(50), (1 << np.arange(1, 50)) - 1, [123456789012]])
    assert bit_length(values).tolist() == [int(v).bit_length() for v in values]
    mantissa, length = leading(values[1:], 16)
    assert ((mantissa >> 15) == 1).all()
    assert (mantissa == np.floor(values[1:] / 2.0 ** (length - 16))).all()


@pytest.mark.parametrize("exponent", [-20, -3, 0, 2])
def test_quotients_are_within_an_ulp_of_float64(exponent: int) -> None:
    rng = np.random.default_rng(exponent + 100)
    total = rng.integers(1, 1 << rng.integers(13, 30, 400))
    sums = rng.integers(-(1 << 36), 1 << 36, (400, 16)) >> rng.integers(0, 30, (400, 16))
    got = FP16.decode(normalise(CONFIG, sums, total, exponent, np.zeros(400, bool)))
    exact = sums / total[:, None] * 2.0**exponent
    ulp = 2.0 ** (np.maximum(np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-40))), -14) - 10)
    inside = np.abs(exact) < 65504
    assert (np.abs(got - exact)[inside] <= 0.6 * ulp[inside]).all()
    assert np.isinf(got[np.abs(exact) > 65536]).all()
    assert inside.mean() > 0.2


@pytest.mark.parametrize(
    ("output_sum", "prob_total", "exponent", "expected"),
    [
        (1 << 20, 1 << 20, 0, 1.0),
        (-(1 << 20), 1 << 20, 0, -1.0),
        (3 << 10, 1 << 10, -1, 1.5),
        (1 << 10, 1 << 10, -24, 2.0**-24),
        (1 << 10, 1 << 10, -26, 0.0),
        (1023 << 10, 1 << 10, -24, 1023 * 2.0**-24),
        (1 << 10, 1 << 10, 16, np.inf),
        (-(1 << 10), 1 << 10, 127, -np.inf),
        (1 << 10, 1 << 10, -128, 0.0),
        (0, 1 << 10, 3, 0.0),
        (5, 0, 0, 0.0),
    ],
)
def test_corner_cases(output_sum: int, prob_total: int, exponent: int, expected: float) -> None:
    got = float(FP16.decode(np.array([one(output_sum, prob_total, exponent)], np.uint16))[0])
    # A power of two is divided by the saturated reciprocal of 1, which is short of it by one part in 2**16.
    assert got == pytest.approx(expected, rel=2.0**-11, abs=0)


def test_a_row_without_probability_is_plus_zero() -> None:
    assert one(-5, 0) == 0
    assert one(0, 99) == 0


def test_negation_flips_only_the_sign() -> None:
    sums = np.random.default_rng(9).integers(1, 1 << 30, (50, 16))
    total = np.random.default_rng(10).integers(1 << 12, 1 << 20, 50)
    plus, minus = (normalise(CONFIG, s, total, -4, np.zeros(50, bool)) for s in (sums, -sums))
    assert (minus == plus | 0x8000).all()


def test_invalid_rows_are_nan_and_leave_the_others_alone() -> None:
    got = normalise(CONFIG, np.full((3, 4), 1 << 14), np.full(3, 1 << 14), 0, np.array([False, True, False]))
    assert (got[1] == FP16.nan).all()
    assert (got[[0, 2]] == 0x3C00).all()
