from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.align import align_to
from golden.config import FLOAT_FORMATS, Config
from golden.formats import FORMATS
from golden.statistics import Statistics, statistics
from tests.golden import by_hand

CONTENTS = ("normal", "rising", "falling", "wide", "zero", "subnormal", "extreme", "one sign", "alternating", "spikes")


def drawn(config: Config, content: str, tokens: int, seed: int) -> np.ndarray:
    """Words [tokens, head_dim] of finite numbers."""
    form, rng = FORMATS[config.float_format], np.random.default_rng(seed)
    x = rng.standard_normal((tokens, config.head_dim))
    place = np.arange(tokens)[:, None] / max(1, tokens - 1)
    if content in ("rising", "falling"):
        x *= np.exp2(20 * (place if content == "rising" else 1 - place) - 12)
    elif content == "wide":
        x *= np.exp2(rng.integers(-14, 13, (tokens, 1)))
    elif content == "zero":
        x *= 0
    elif content == "spikes":  # later rows have a larger exponent and less of everything else
        x = np.copysign(1.99, x) * (place < 0.5) + (rng.random(x.shape) < 0.05) * np.exp2(place * rng.integers(0, 15))
    words = form.encode(x)
    sign = rng.integers(0, 2, x.shape) << (form.bits - 1)
    most = (form.exponent_max << form.fraction_bits) - 1
    if content == "subnormal":
        words = rng.integers(0, 1 << form.fraction_bits, x.shape) | sign
    elif content == "extreme":
        words = rng.choice([0, 1, most], x.shape) | sign
    elif content == "one sign":
        words = np.full(x.shape, most) | (seed % 2) << (form.bits - 1)
    elif content == "alternating":
        words = np.full(x.shape, most) | (np.arange(tokens)[:, None] % 2) << (form.bits - 1)
    return words.astype(np.uint16)


@st.composite
def heads(draw: st.DrawFn, most: int = 40) -> tuple[Config, np.ndarray]:
    """A configuration and rows for it."""
    config = Config(
        head_dim=16,
        input_bits=draw(st.integers(12, 20)),
        float_format=draw(st.sampled_from(FLOAT_FORMATS)),
        max_tokens=draw(st.sampled_from([64, 4096])),
    )
    return config, drawn(config, draw(st.sampled_from(CONTENTS)), draw(st.integers(1, most)), draw(st.integers(0, 99)))


def check_widths(config: Config, got: Statistics) -> None:
    bound = 1 << (config.total_bits - 1)
    assert -bound <= got.total.min() <= got.total.max() < bound
    assert np.abs(got.mean).max() <= config.input_max
    assert 0 < got.reach < 1 << config.reach_bits
    assert 1 <= got.exponent < FORMATS[config.float_format].exponent_max


def centred(config: Config, words: np.ndarray, got: Statistics) -> np.ndarray:
    """All rows at the final exponent, less the mean."""
    exponent = np.full(len(words), got.exponent)
    return align_to(FORMATS[config.float_format], words, config.input_bits, exponent).mantissa - got.mean


@given(heads())
def test_statistics_follow_their_definition(case: tuple[Config, np.ndarray]) -> None:
    config, words = case
    got = statistics(config, words)
    assert (got.exponent, got.total.tolist(), got.mean.tolist(), got.reach) == by_hand.statistics(
        config, words.tolist()
    )


@given(heads())
def test_rows_at_a_given_exponent_are_rounded_as_by_hand(case: tuple[Config, np.ndarray]) -> None:
    config, words = case
    form = FORMATS[config.float_format]
    exponent = statistics(config, words).exponent
    got = align_to(form, words, config.input_bits, np.full(len(words), exponent))
    wanted = [[by_hand.aligned(form, word, config.input_bits, exponent) for word in row] for row in words.tolist()]
    assert got.mantissa.tolist() == wanted
    assert (got.exponent == exponent).all()


@given(heads())
def test_widths_hold_and_no_centred_row_exceeds_the_reach(case: tuple[Config, np.ndarray]) -> None:
    config, words = case
    got = statistics(config, words)
    check_widths(config, got)
    rows = centred(config, words, got)
    assert np.abs(rows).sum(axis=1).max() <= got.reach
    assert np.abs(rows).max() < 1 << (config.centred_bits - 1)


@pytest.mark.parametrize("name", FLOAT_FORMATS)
@pytest.mark.parametrize("bits", [12, 16, 20])
@pytest.mark.parametrize("content", CONTENTS)
def test_widths_hold_for_as_many_rows_as_there_may_be(content: str, bits: int, name: str) -> None:
    config = Config(head_dim=16, input_bits=bits, float_format=name, max_tokens=64)
    words = drawn(config, content, 64, 1)
    got = statistics(config, words)
    check_widths(config, got)
    assert np.abs(centred(config, words, got)).sum(axis=1).max() <= got.reach
    if content == "one sign":
        # All the same and the largest: the widths are needed.
        assert np.abs(got.total).max() >= 1 << (config.total_bits - 2)
        assert got.reach >= 1 << (config.reach_bits - 2)


@pytest.mark.parametrize("tokens", [1, 2, 3, 100, 1023, 1024])
@pytest.mark.parametrize("name", FLOAT_FORMATS)
def test_the_mean_is_close_to_the_exact_one(name: str, tokens: int) -> None:
    config = Config(float_format=name)
    form = FORMATS[name]
    words = drawn(config, "rising", tokens, 3)
    got = statistics(config, words)
    unit = 2.0 ** (got.exponent - form.bias - (config.input_bits - 2))
    exact = form.decode(words).mean(axis=0) / unit
    # Half a unit by each row and half by the mean; a sum loses less than one unit when it is shifted, which counts
    # less the more rows there are; the reciprocal errs by 2**-16 of at most 2**15 units.
    assert np.abs(got.mean - exact).max() <= 0.5 + 0.5 + 2 / tokens + 0.5


def test_the_order_of_rows_decides_the_rounding_only() -> None:
    config = Config(head_dim=16)
    words = drawn(config, "wide", 50, 5)
    first, second = (statistics(config, each) for each in (words, words[::-1]))
    assert first.exponent == second.exponent
    assert np.abs(first.mean - second.mean).max() <= 2
    # With the largest exponent first nothing is ever shifted.
    form = FORMATS[config.float_format]
    order = np.argsort(-align_to(form, words, config.input_bits).exponent, kind="stable")
    exact = align_to(form, words, config.input_bits, np.full(50, first.exponent)).mantissa
    assert (statistics(config, words[order]).total == exact.sum(axis=0)).all()


def test_a_row_alone_is_its_own_mean() -> None:
    config = Config(head_dim=16)
    words = drawn(config, "normal", 1, 0)
    got = statistics(config, words)
    assert not centred(config, words, got).any()
    assert got.reach == 2 * np.abs(got.mean).sum() + 16
