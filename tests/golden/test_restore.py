from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import FLOAT_FORMATS, Config
from golden.formats import FORMATS, FP16
from golden.restore import restore_rows
from golden.rotate import rotate
from golden.statistics import Statistics
from golden.tables import MEAN_FRACTION_BITS
from tests.golden.by_hand import encoded, restored

CONTENTS = ("normal", "wide", "any words", "zero", "subnormal", "largest")


def rows(content: str, channels: int, seed: int) -> np.ndarray:
    """FP16 words [6, channels]."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((6, channels))
    if content == "wide":
        x *= np.exp2(rng.integers(-22, 14, (6, 1)))
    elif content == "zero":
        x *= 0
    elif content == "subnormal":
        return rng.integers(0, 1 << 10, (6, channels)).astype(np.uint16) | np.uint16(0x8000) * (x < 0)
    elif content == "largest":
        return np.where(x < 0, 0xFBFF, 0x7BFF).astype(np.uint16)
    elif content == "any words":
        words = rng.integers(0, 1 << 16, (6, channels)).astype(np.uint16)
        return np.where(rng.random((6, 1)) < 0.7, words & ~np.uint16(1 << 14), words)
    return FP16.encode(x)


def of_mean(config: Config, exponent: int, size: float, seed: int) -> Statistics:
    """Statistics of which restoring sees the exponent and the mean, in parts of the largest."""
    mean = np.random.default_rng(seed).uniform(-1, 1, config.head_dim) * size * config.input_max
    return Statistics(exponent, np.zeros(config.head_dim, np.int64), np.rint(mean).astype(np.int64), 0)


@given(
    st.sampled_from(CONTENTS),
    st.sampled_from([16, 48]),
    st.sampled_from(FLOAT_FORMATS),
    st.integers(12, 20),
    st.booleans(),
    st.floats(0, 1),
    st.sampled_from([0, 1e-3, 1]),
    st.integers(0, 99),
)
def test_restoring_follows_its_definition(
    content: str, channels: int, name: str, bits: int, rotate: bool, place: float, size: float, seed: int
) -> None:
    config = Config(head_dim=channels, float_format=name, input_bits=bits, rotate=rotate)
    # Any exponent of the format: the smallest mean is nothing, the largest beyond FP16 where the format is BF16.
    values = of_mean(config, 1 + int(place * (FORMATS[name].exponent_max - 2)), size, seed)
    output = rows(content, channels, seed)
    got = restore_rows(config, output, values)
    wanted = [restored(config, row, values.mean.tolist(), values.exponent) for row in output.tolist()]
    assert got.dtype == np.uint16
    # Signs of zeros are those of sums: positive.
    assert got.tolist() == wanted


@pytest.mark.parametrize("name", FLOAT_FORMATS)
def test_results_are_rounded_once_more_than_the_exact_ones(name: str) -> None:
    """Against the exact rotation and mean: alignment, two roundings to a common unit, and FP16."""
    config = Config(head_dim=64, float_format=name)
    form = FORMATS[name]
    matrix = rotate(config, np.eye(64, dtype=np.int64)) * 2.0 ** (config.rotation_shift - config.rotation_stages)
    for seed in range(8):
        output = rows("wide", 64, seed)
        values = of_mean(config, form.bias + 3 - seed, 0.5, seed)
        power = values.exponent - form.bias - (config.input_bits - 2)
        exact = FP16.decode(output) @ matrix + np.ldexp(values.mean.astype(float), power)
        got = FP16.decode(restore_rows(config, output, values))
        # Elements are aligned to half a unit of 2**-14 of the row's largest power of two; 64 of them, halved thrice.
        largest = 2.0 ** np.floor(np.log2(np.abs(FP16.decode(output)).max(axis=1, keepdims=True)))
        alignment = largest * 2.0**-14 / 2 * 64 / 8
        common = np.maximum(largest * 2.0**-14 / 8, 2.0 ** (power - MEAN_FRACTION_BITS))
        last = np.maximum(np.abs(exact) + alignment, 2.0**-14) * 2.0**-11
        assert (np.abs(got - exact) <= alignment + common + last).all()


@pytest.mark.parametrize("rotate", [True, False])
def test_a_row_of_zeros_is_the_mean(rotate: bool) -> None:
    config = Config(head_dim=16, rotate=rotate)
    values = of_mean(config, 12, 1.0, 0)
    got = restore_rows(config, np.zeros((2, 16), np.uint16), values)
    unit = Fraction(2) ** (12 - FP16.bias - (config.input_bits - 2))
    assert got.tolist() == [[encoded(FP16, mean * unit) for mean in values.mean.tolist()]] * 2


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_a_row_that_is_not_finite_gives_nans_alone(special: float) -> None:
    config = Config(head_dim=16)
    output = np.ones((3, 16))
    output[1, 5] = special
    got = FP16.decode(restore_rows(config, FP16.encode(output), of_mean(config, 15, 0.1, 0)))
    assert np.isnan(got).all(axis=1).tolist() == [False, True, False]
    assert np.isfinite(got[[0, 2]]).all()


def test_sums_beyond_fp16_are_infinite() -> None:
    config = Config(head_dim=16, rotate=False)
    values = of_mean(config, 30, 0, 0)
    values.mean[:2] = config.input_max, -config.input_max
    got = FP16.decode(restore_rows(config, FP16.encode(np.array([[6e4, -6e4] + [6e4] * 14])), values))
    assert got[0, :2].tolist() == [np.inf, -np.inf]
    assert np.isfinite(got[0, 2:]).all()
