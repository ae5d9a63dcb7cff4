from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from golden.align import align
from golden.config import FLOAT_FORMATS, Config
from golden.formats import FORMATS, FloatFormat


def reference(config: Config, form: FloatFormat, bits: np.ndarray) -> tuple[list[int], int]:
    """Exact alignment of one vector in rational numbers: round to nearest, ties away from zero, saturate."""
    exponent = max(1, int(((bits.astype(int) >> form.fraction_bits) & form.exponent_max).max()))
    unit = Fraction(2) ** (exponent - form.bias - (config.query_bits - 2))
    mantissas = []
    for value in form.decode(bits):
        magnitude = min(int(abs(Fraction(float(value))) / unit + Fraction(1, 2)), config.query_max)
        mantissas.append(-magnitude if value < 0 else magnitude)
    return mantissas, exponent


def vectors(form: FloatFormat, rng: np.random.Generator) -> np.ndarray:
    """Finite vectors [n, 16]: any patterns, subnormal ones, narrow and wide ranges, ties, zeros and extremes."""
    infinity = form.exponent_max << form.fraction_bits
    sign = rng.integers(0, 2, (40, 16), dtype=np.uint32) << (form.bits - 1)
    anything = rng.integers(0, infinity, (40, 16), dtype=np.uint32) | sign
    subnormal = rng.integers(0, 1 << form.fraction_bits, (40, 16), dtype=np.uint32) | sign
    near = form.encode(rng.standard_normal((40, 16)))
    wide = form.encode(rng.standard_normal((40, 16)) * np.exp2(rng.integers(-14, 10, (40, 16))))
    ones = form.encode(np.ldexp(1 - 2.0 ** -(form.fraction_bits + 1), -np.arange(16)) * np.ones((1, 1)))
    ties = form.encode(np.ldexp(1.0, -np.arange(16))[None, :])
    extremes = np.tile(
        np.array([infinity - 1, 0, 1 << (form.bits - 1), infinity - 1 | 1 << (form.bits - 1)], np.uint16), 4
    )
    parts = [anything, subnormal, near, wide, ones, ties, extremes[None, :], np.zeros((1, 16))]
    return np.concatenate([part.astype(np.uint16) for part in parts])


@pytest.mark.parametrize("query_bits", [8, 12, 14, 18])
@pytest.mark.parametrize("name", FLOAT_FORMATS)
def test_alignment_is_exact_rounding(name: str, query_bits: int) -> None:
    config, form = Config(float_format=name, query_bits=query_bits), FORMATS[name]
    bits = vectors(form, np.random.default_rng(5))
    got = align(config, bits)
    for i, vector in enumerate(bits):
        mantissas, exponent = reference(config, form, vector)
        assert got.mantissa[i].tolist() == mantissas, f"vector {i}: {vector.tolist()}"
        assert got.exponent[i] == exponent
    assert not got.invalid.any()


@pytest.mark.parametrize("name", FLOAT_FORMATS)
def test_saturation_is_reached_and_never_exceeded(name: str) -> None:
    config, form = Config(float_format=name, query_bits=8), FORMATS[name]
    largest = np.full((1, 16), (form.exponent_max << form.fraction_bits) - 1, np.uint16)
    assert (align(config, largest).mantissa == config.query_max).all()
    assert (align(config, largest | np.uint16(1 << (form.bits - 1))).mantissa == -config.query_max).all()


@pytest.mark.parametrize("name", FLOAT_FORMATS)
@pytest.mark.parametrize("special", ["inf", "-inf", "nan"])
def test_infinity_and_nan_invalidate_only_their_vector(name: str, special: str) -> None:
    values = np.ones((3, 16))
    values[1, 7] = float(special)
    aligned = align(Config(float_format=name), FORMATS[name].encode(values))
    assert aligned.invalid.tolist() == [False, True, False]


def test_subnormal_vectors_are_exact() -> None:
    config, form = Config(), FORMATS["fp16"]
    bits = np.arange(1, 17, dtype=np.uint16)[None, :]
    aligned = align(config, bits)
    assert aligned.exponent.tolist() == [1]
    scale = 2.0 ** (1 - form.bias - (config.query_bits - 2))
    assert (aligned.mantissa * scale == form.decode(bits)).all()
