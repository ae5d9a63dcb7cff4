from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from golden.formats import FORMATS, FloatFormat
from tests.golden.by_hand import encoded

EVERY = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)


@pytest.fixture(params=sorted(FORMATS))
def form(request: pytest.FixtureRequest) -> FloatFormat:
    return FORMATS[request.param]


def test_every_pattern_decodes_by_the_definition(form: FloatFormat) -> None:
    bits = EVERY.astype(np.int64)
    sign = np.where(bits >> (form.bits - 1), -1.0, 1.0)
    field = (bits >> form.fraction_bits) & form.exponent_max
    fraction = bits & ((1 << form.fraction_bits) - 1)
    significand = np.where(field > 0, fraction + (1 << form.fraction_bits), fraction).astype(np.float64)
    expected = sign * np.ldexp(significand, np.maximum(field, 1) - form.bias - form.fraction_bits)
    finite = field < form.exponent_max
    got = form.decode(EVERY)
    assert (got[finite] == expected[finite]).all()
    assert (np.isinf(got) == ((field == form.exponent_max) & (fraction == 0))).all()
    assert (np.isnan(got) == ((field == form.exponent_max) & (fraction > 0))).all()


def test_every_number_survives_the_round_trip(form: FloatFormat) -> None:
    values = form.decode(EVERY)
    numbers = ~np.isnan(values)
    assert (form.encode(values[numbers]) == EVERY[numbers]).all()


def test_midpoints_round_to_even(form: FloatFormat) -> None:
    low = np.arange((form.exponent_max << form.fraction_bits) - 1, dtype=np.uint16)
    midpoints = (form.decode(low) + form.decode(low + 1)) / 2
    assert (form.encode(midpoints) == low + (low & 1)).all()


def test_overflow_is_infinity_and_nan_is_quiet(form: FloatFormat) -> None:
    infinity = form.exponent_max << form.fraction_bits
    sign = 1 << (form.bits - 1)
    largest = form.decode(np.array([infinity - 1], np.uint16))[0]
    assert form.encode(np.array([largest, largest * 2, -largest * 2])).tolist() == [
        infinity - 1,
        infinity,
        infinity | sign,
    ]
    assert np.isnan(form.decode(np.array([form.nan], np.uint16))[0])


def test_values_are_rounded_once(form: FloatFormat) -> None:
    # Just beside a tie, by less than float32 tells, and values of any size: to nearest, ties to even.
    rng = np.random.default_rng(0)
    half = 2.0 ** -(form.fraction_bits + 1)
    near = [1 + (2 * n + 1) * half + side * 2.0**-40 for n in range(4) for side in (-1, 0, 1)]
    values = np.array(near + (rng.standard_normal(400) * np.exp2(rng.integers(-30, 14, 400))).tolist())
    values = np.concatenate([values, -values, [0.0, 2.0**-24, 2.0**-25, 3 * 2.0**-25, 65504.0, 65519.9, 65520.0]])
    assert form.encode(values).tolist() == [encoded(form, Fraction(value)) for value in values.tolist()]
