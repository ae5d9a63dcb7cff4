from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from golden.config import FLOAT_FORMATS, Config
from golden.formats import FORMATS
from golden.score import score


def exact(config: Config, key_sum: int, exponent: int, mantissa: int, key_exponent: int) -> int:
    """The score by its formula in rational numbers, rounded to nearest with ties up, saturated."""
    power = exponent - FORMATS[config.float_format].bias - (config.query_bits - 2) + key_exponent
    value = key_sum * mantissa * Fraction(2) ** (power + config.score_fraction_bits)
    bound = 1 << (config.score_bits - 1)
    return int(max(-bound, min(bound - 1, (value + Fraction(1, 2)).__floor__())))


@pytest.mark.parametrize("name", FLOAT_FORMATS)
def test_scores_match_the_formula_exactly(name: str) -> None:
    config = Config(float_format=name)
    rng = np.random.default_rng(11)
    rows, keys = 24, 40
    most = config.query_max * config.code_max(config.key_digit_step) * config.head_dim
    key_sum = rng.integers(-most, most + 1, (rows, keys)) >> rng.integers(0, 30, (rows, keys))
    exponent = rng.integers(1, FORMATS[name].exponent_max, rows)
    mantissa = rng.integers(1 << (config.scale_bits - 1), 1 << config.scale_bits, keys)
    key_exponent = rng.integers(-128, 128, keys)
    # Half of the pairs land in range, the others far out on both sides.
    key_exponent[: keys // 2] = rng.integers(-20, -4, keys // 2) + FORMATS[name].bias - int(np.median(exponent))
    got = score(config, key_sum, exponent, mantissa, key_exponent)
    wanted = [
        [exact(config, *map(int, (key_sum[r, k], exponent[r], mantissa[k], key_exponent[k]))) for k in range(keys)]
        for r in range(rows)
    ]
    assert got.tolist() == wanted
    assert len(np.unique(got)) > 50


@pytest.mark.parametrize(("key_sum", "expected"), [(1, 1), (-1, 0), (3, 2), (-3, -1), (0, 0)])
def test_ties_round_up(key_sum: int, expected: int) -> None:
    config = Config()
    # The scale 32 = 2**5 and the exponent make the value key_sum / 2 units.
    exponent = FORMATS["fp16"].bias
    key_exponent = config.query_bits - 2 - config.score_fraction_bits - 5 - 1
    got = score(config, np.array([[key_sum]]), np.array([exponent]), np.array([32]), np.array([key_exponent]))
    assert got.tolist() == [[expected]]


@pytest.mark.parametrize("sign", [1, -1])
def test_saturation_at_both_ends(sign: int) -> None:
    config = Config()
    got = score(config, np.array([[sign]]), np.array([30]), np.array([63]), np.array([127]))
    bound = 1 << (config.score_bits - 1)
    assert got.item() == (bound - 1 if sign > 0 else -bound)
