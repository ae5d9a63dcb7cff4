from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import Config
from golden.rotate import rotate, rotate_centred
from tests.golden.by_hand import halvings, rotated, sign

SIZES = (16, 32, 48, 64, 80, 128, 256)


@given(st.sampled_from(SIZES), st.booleans(), st.integers(12, 20), st.integers(0, 99))
def test_rotation_is_the_product_with_the_matrix(size: int, on: bool, bits: int, seed: int) -> None:
    config = Config(head_dim=size, rotate=on, input_bits=bits)
    most = 2 * config.input_max
    vectors = np.random.default_rng(seed).integers(-most, most + 1, (3, size))
    wanted = [rotated(config, vector) for vector in vectors.tolist()]
    assert rotate(config, vectors).tolist() == wanted
    # Half of what is shifted out is added first: to nearest, ties up.
    unit = 2 ** halvings(config)
    assert rotate_centred(config, vectors).tolist() == [[(2 * x + unit) // (2 * unit) for x in row] for row in wanted]


@pytest.mark.parametrize("size", SIZES)
def test_twice_is_a_multiple(size: int) -> None:
    config = Config(head_dim=size)
    vectors = np.random.default_rng(size).integers(-99999, 99999, (4, 5, size))
    assert (rotate(config, rotate(config, vectors)) == vectors << config.rotation_stages).all()


@pytest.mark.parametrize("size", SIZES)
def test_products_of_vectors_are_kept(size: int) -> None:
    config = Config(head_dim=size)
    first, second = np.random.default_rng(size).integers(-9999, 9999, (2, size))
    assert rotate(config, first) @ rotate(config, second) == (first @ second) << config.rotation_stages


def test_without_rotation_nothing_changes() -> None:
    config = Config(rotate=False)
    vectors = np.random.default_rng(0).integers(-9, 9, (2, 64))
    assert (rotate(config, vectors) == vectors).all()
    assert (rotate_centred(config, vectors) == vectors).all()


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("bits", [12, 16, 20])
@pytest.mark.parametrize("size", SIZES)
def test_the_longest_channels_fit_their_width_and_need_it(size: int, bits: int, on: bool) -> None:
    config = Config(head_dim=size, input_bits=bits, rotate=on)
    block = 1 << config.rotation_stages
    # All energy of a vector meets in one channel if its signs are those of a row of the matrix.
    signs = np.array([[sign(row, channel % block) for channel in range(size)] for row in range(block)])
    for way in (signs, -signs):
        found = rotate_centred(config, way * 2 * config.input_max)
        assert -(1 << (config.rotated_bits - 1)) <= found.min() <= found.max() < 1 << (config.rotated_bits - 1)
        assert np.abs(found).max() <= config.rotated_max
        assert np.abs(found).max() >= 1 << (config.rotated_bits - 2)


@given(st.sampled_from(SIZES), st.booleans(), st.integers(0, 99))
def test_a_channel_is_never_more_than_the_sum_of_magnitudes(size: int, on: bool, seed: int) -> None:
    config = Config(head_dim=size, rotate=on)
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-9, 10, (20, size)) * rng.integers(0, 2, (20, size)) << rng.integers(0, 10, (20, 1))
    sums = np.abs(vectors).sum(axis=1)
    # What golden.prepare takes as the largest value there can be.
    assert (np.abs(rotate_centred(config, vectors)).max(axis=1) <= (sums >> config.rotation_shift) + 1).all()
