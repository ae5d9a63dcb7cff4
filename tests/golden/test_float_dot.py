from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from golden.float_dot import INTEGER_MAX, fused_dot, multiply_add, to_float

INFINITY = 0x7F800000


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def fp32(value: Fraction) -> int:
    """Bits of a rational number, rounded to nearest even as if exponents were unbounded, then flushed or infinite."""
    if value == 0:
        return 0
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    exponent -= magnitude < power(exponent)
    significand = round(magnitude / power(exponent - 23))
    packed = ((exponent + 126) << 23) + significand
    if packed < 1 << 23:
        return 0
    return min(packed, INFINITY) | (value < 0) << 31


def decode(bits: int, exponent_bits: int, fraction_bits: int) -> Fraction:
    """The value of a finite number, subnormal ones flushed to zero."""
    field, fraction = (bits >> fraction_bits) & ((1 << exponent_bits) - 1), bits & ((1 << fraction_bits) - 1)
    bias = (1 << (exponent_bits - 1)) - 1
    magnitude = (fraction + (1 << fraction_bits)) * power(field - bias - fraction_bits) if field else Fraction(0)
    return -magnitude if bits >> (exponent_bits + fraction_bits) else magnitude


def half(bits: int) -> Fraction:
    return decode(bits, 5, 10)


def single(bits: int) -> Fraction:
    return decode(bits, 8, 23)


def reference_dot(a: list[int], b: list[int], keep_bits: int) -> int:
    """Every product in whole units of the last place kept, truncated; then their exact sum."""
    exponents = [(x >> 10 & 31) + (y >> 10 & 31) for x, y in zip(a, b, strict=True) if half(x) * half(y)]
    unit = power(max(exponents, default=0) - 30 + 2 - keep_bits)
    return fp32(sum(int(half(x) * half(y) / unit) for x, y in zip(a, b, strict=True)) * unit)


def bits16(*values: int) -> np.ndarray:
    return np.array(values, np.uint16)


def multiplied(a: int, b: int, c: int) -> int:
    return int(multiply_add(bits16(a), bits16(b), np.array([c], np.uint32))[0])


HALVES = st.builds(lambda sign, rest: sign << 15 | rest, st.integers(0, 1), st.integers(0, (31 << 10) - 1))
SINGLES = st.builds(
    lambda sign, field, fraction: sign << 31 | (field << 23 | fraction if field else 0),
    st.integers(0, 1),
    st.integers(0, 254),
    st.one_of(st.integers(0, (1 << 23) - 1), st.sampled_from([0, 1, (1 << 23) - 1])),
)
NEAR = st.builds(
    lambda sign, field, fraction: sign << 31 | field << 23 | fraction,
    st.integers(0, 1),
    st.integers(96, 160),
    st.integers(0, (1 << 23) - 1),
)
HALF_CORNERS = [0, 1, 0x3FF, 0x400, 0x3C00, 0x3C01, 0x3FFF, 0x7BFF, 0x5555]
SINGLE_CORNERS = [0, 1 << 23, 0x33800000, 0x34000000, 0x3F800000, 0x3F800001, 0x3FFFFFFF, 0x4F7FC002, 0x7F7FFFFF]


@given(HALVES, HALVES, st.one_of(SINGLES, NEAR))
def test_multiply_add_rounds_the_exact_sum_once(a: int, b: int, c: int) -> None:
    assert multiplied(a, b, c) == fp32(single(c) + half(a) * half(b))


@given(HALVES, HALVES, st.integers(-3, 3))
def test_multiply_add_cancels_exactly(a: int, b: int, places: int) -> None:
    product = half(a) * half(b)
    c = max(0, (fp32(-product) & 0x7FFFFFFF) + places if product else 0) | (product > 0) << 31
    assert multiplied(a, b, c) == fp32(single(c) + product)


@given(st.integers(0, 1), st.integers(0, 1), st.integers(0, (1 << 23) - 1), st.integers(0, 6))
def test_multiply_add_breaks_ties_to_even(c_sign: int, sign: int, fraction: int, more: int) -> None:
    # 2**-24 is half a unit in the last place of a number in [1, 2): ties, and next to ties.
    c = c_sign << 31 | 127 << 23 | fraction
    a, b = sign << 15 | (15 - 12) << 10, (15 - 12) << 10 | (more >> 1 if more & 1 else 0)
    assert multiplied(a, b, c) == fp32(single(c) + half(a) * half(b))


def test_multiply_add_of_extremes() -> None:
    signed_halves = [sign << 15 | x for sign in (0, 1) for x in HALF_CORNERS]
    signed_singles = [sign << 31 | x for sign in (0, 1) for x in SINGLE_CORNERS]
    cases = np.array(list(itertools.product(signed_halves, signed_halves, signed_singles)))
    a, b = (cases[:, n].astype(np.uint16) for n in (0, 1))
    got = multiply_add(a, b, cases[:, 2].astype(np.uint32))
    assert got.tolist() == [fp32(single(c) + half(a) * half(b)) for a, b, c in cases.tolist()]
    fields = got >> 23 & 255
    assert ((got == 0) | ((fields > 0) & (fields < 255))).all(), "the sum left the range of normal numbers"


@given(st.lists(st.tuples(HALVES, HALVES), min_size=1, max_size=9), st.integers(1, 40))
@example([(0x7BFF, 0x7BFF)] * 9, 24)
@example([(0x0001, 0x7BFF), (0x0400, 0x0400)], 24)
@example([(0, 0x7BFF), (0, 0)], 24)
def test_fused_dot_sums_truncated_products(pairs: list[tuple[int, int]], keep_bits: int) -> None:
    a, b = ([pair[side] for pair in pairs] for side in (0, 1))
    assert int(fused_dot(bits16(*a), bits16(*b), keep_bits)) == reference_dot(a, b, keep_bits)


@given(st.lists(st.tuples(HALVES, HALVES), min_size=1, max_size=8), HALVES, HALVES)
def test_fused_dot_cancels_exactly(pairs: list[tuple[int, int]], last: int, factor: int) -> None:
    a = [*(x for x, _ in pairs), *(x ^ 0x8000 for x, _ in pairs), last]
    b = [*(y for _, y in pairs), *(y for _, y in pairs), factor]
    assert int(fused_dot(bits16(*a), bits16(*b), 24)) == reference_dot(a, b, 24)
    assert int(fused_dot(bits16(*a[:-1]), bits16(*b[:-1]), 24)) == 0


def test_fused_dot_of_64_is_close_to_float64() -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal((50, 64)).astype(np.float16) for _ in range(2))
    got = fused_dot(a.view(np.uint16), b.view(np.uint16), 24)
    assert got.tolist() == [
        reference_dot(*pair, 24) for pair in zip(a.view(np.uint16).tolist(), b.view(np.uint16).tolist(), strict=True)
    ]
    exact = (a.astype(float) * b.astype(float)).sum(axis=-1)
    assert np.abs(got.view(np.float32) - exact).max() < 64 * np.abs(exact).max() * 2.0**-22
    assert (got.view(np.float32) != exact.astype(np.float32)).any(), "nothing was truncated"


@given(
    st.one_of(st.integers(-INTEGER_MAX, INTEGER_MAX), st.integers(-300, 300)),
    st.one_of(st.integers(-300, 300), st.integers(-40, 40)),
)
@example((1 << 25) - 1, -151)
@example((1 << 24) - 1, -150)
@example((1 << 25) - 1, 103)
@example((1 << 24) - 1, 104)
@example(0, 300)
def test_to_float_rounds_once(integer: int, exponent: int) -> None:
    assert int(to_float(np.array([integer]), np.array([exponent]))[0]) == fp32(integer * power(exponent))


@given(st.integers(1 << 23, (1 << 24) - 1), st.integers(1, 29), st.integers(-1, 1), st.sampled_from([-1, 1]))
def test_to_float_breaks_ties_to_even(kept: int, dropped: int, beside: int, sign: int) -> None:
    integer = sign * ((kept << dropped) + (1 << (dropped - 1)) + beside)
    assert int(to_float(np.array([integer]), np.array([0]))[0]) == fp32(Fraction(integer))


def test_shapes_are_kept() -> None:
    a = np.full((2, 3, 4), 0x3C00, np.uint16)
    assert multiply_add(a, a, np.zeros((2, 3, 4), np.uint32)).shape == (2, 3, 4)
    assert fused_dot(a, a, 24).shape == (2, 3)
    assert to_float(np.ones((2, 3), np.int64), np.zeros(3, np.int64)).shape == (2, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: multiplied(0x7C00, 0, 0),
        lambda: multiplied(0, 0x7E00, 0),
        lambda: multiplied(0, 0, INFINITY),
        lambda: multiplied(0, 0, INFINITY + 1),
        lambda: multiplied(0, 0, 1),
        lambda: fused_dot(bits16(0x7C00), bits16(0), 24),
        lambda: fused_dot(bits16(0), bits16(0), 41),
        lambda: fused_dot(bits16(0), bits16(0), 0),
        lambda: to_float(np.array([INTEGER_MAX + 1]), np.array([0])),
    ],
)
def test_what_is_not_specified_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        call()
