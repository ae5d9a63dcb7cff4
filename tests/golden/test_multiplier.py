from __future__ import annotations

import numpy as np
import pytest

from golden.config import DIGIT_MAX, DIGIT_MIN, Config, Tier
from golden.multiplier import multiply, multiply_rows
from golden.quantise import nearest


def test_every_digit_times_every_operand_of_eight_bits() -> None:
    operand = np.arange(-127, 128)[:, None]
    every = np.broadcast_to(np.arange(DIGIT_MIN, DIGIT_MAX + 1, dtype=np.int8)[:, None], (255, 16, 1))
    assert (multiply(operand, every) == operand * np.arange(DIGIT_MIN, DIGIT_MAX + 1)).all()


@pytest.mark.parametrize("head_dim", [16, 64, 256])
def test_dot_products_match_exact_integers(head_dim: int) -> None:
    rng = np.random.default_rng(head_dim)
    operand = rng.integers(-(1 << 17) + 1, 1 << 17, head_dim)
    codes = rng.integers(DIGIT_MIN, DIGIT_MAX + 1, (9, head_dim), dtype=np.int8)
    assert multiply(operand, codes).tolist() == [sum(map(int.__mul__, operand.tolist(), row)) for row in codes.tolist()]


def test_the_largest_sums_are_exact_and_fit() -> None:
    config = Config(head_dim=256, query_bits=18, digits=3)
    operand = np.full(config.head_dim, -config.query_max)
    least = np.full((1, config.head_dim), DIGIT_MIN, np.int8)
    dot = int(multiply(operand, least)[0])
    assert dot == config.query_max * -DIGIT_MIN * config.head_dim < 1 << (config.key_dot_bits - 1)
    total = sum(dot * weight for weight in config.digit_weights(config.key_digit_step))
    assert total < 1 << (config.key_sum_bits - 1)


@pytest.mark.parametrize("step", [2, 3, 4])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("tier", Tier)
def test_passes_add_up_to_the_whole_code(count: int, step: int, tier: Tier) -> None:
    config = Config(head_dim=16, digits=count)
    rng = np.random.default_rng(3)
    codes = rng.integers(-config.code_max(step), config.code_max(step) + 1, (5, 16))
    operands = rng.integers(-config.query_max, config.query_max + 1, (4, 16))
    parts = nearest(config, codes.astype(float), step)
    weights = [step * (config.digits - 1 - i) for i in range(config.passes(tier))]
    passes = sum(
        np.stack([multiply(row, part) for row in operands]) << weight
        for part, weight in zip(parts, weights, strict=False)
    )
    seen = np.sum([part.astype(np.int64) << weight for part, weight in zip(parts, weights, strict=False)], axis=0)
    assert (multiply_rows(operands, seen) == passes).all()


@pytest.mark.parametrize("digit", [DIGIT_MIN - 1, DIGIT_MAX + 1])
def test_digits_out_of_range_are_refused(digit: int) -> None:
    with pytest.raises(ValueError, match="digits span"):
        multiply(np.ones(2, np.int64), np.array([[0, digit]], np.int8))
