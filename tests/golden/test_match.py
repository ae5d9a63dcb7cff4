from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import FLOAT_FORMATS, Config
from golden.formats import FORMATS
from golden.match import Matching, compare, match
from golden.oracle import attend, relative_l2
from golden.prepare import words
from golden.tables import LIMIT_BITS
from golden.traces import Head
from tests.golden.by_hand import aligned, finite, shared

MakeHead = Callable[..., Head]


def compare_by_hand(config: Config, row: list[int], reference: list[int]) -> tuple[float, bool]:
    """The relative distance of a row, and whether it is reused: both aligned together, then whole numbers."""
    form = FORMATS[config.float_format]
    if not finite(form, row + reference):
        return math.inf, False
    exponent = shared(form, row + reference)
    here, there = ([aligned(form, word, config.match_bits, exponent) for word in words] for words in (row, reference))
    gap = sum((x - y) ** 2 for x, y in zip(here, there, strict=True))
    norm = sum(x * x for x in here)
    limit = Fraction(round(config.reuse_distance**2 * 2**LIMIT_BITS), 2**LIMIT_BITS)
    return (math.sqrt(gap / norm) if norm else math.inf), gap < limit * norm


def match_by_hand(config: Config, head: Head) -> tuple[list[float], list[int]]:
    """Distances and references, place by place."""
    frames, height, width = head.grid
    q = words(config, head, "q").tolist()
    distance, reference = [math.inf] * len(q), list(range(len(q)))
    if not config.reuse_distance:
        return distance, reference
    for place in range(height * width if frames else 0):
        last = head.text_tokens + place
        for frame in range(1, frames):
            token = head.text_tokens + frame * height * width + place
            distance[token], near = compare_by_hand(config, q[token], q[last])
            if near:
                reference[token] = last
            else:
                last = token
    return distance, reference


@given(st.data())
def test_matching_follows_its_definition(any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject) -> None:
    config, head = data.draw(any_case)
    distance, reference = match_by_hand(config, head)
    got = match(config, head)
    assert got.reference.tolist() == reference
    assert got.distance.tolist() == distance
    # Whatever the input: text and the first frame are computed, and a reference is a computed row of the same place.
    frame = head.grid[1] * head.grid[2]
    assert got.computed[: head.text_tokens + frame].all()
    assert got.computed[got.reference].all()
    video = got.reference[head.text_tokens :]
    assert ((np.arange(len(video)) + head.text_tokens - video) % max(1, frame) == 0).all()
    assert got.computed[~np.isfinite(head.q).all(axis=1)].all()
    assert np.isfinite(head.q[got.reference[~got.computed]]).all()


@given(st.data())
def test_expansion_gives_every_row_the_result_of_its_reference(
    any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject
) -> None:
    config, head = data.draw(any_case)
    got = match(config, head)
    output = np.where(got.computed, np.arange(len(head.q)), -1.0)[:, None]
    assert got.expand(output)[:, 0].tolist() == got.reference.tolist()


@pytest.mark.parametrize("name", FLOAT_FORMATS)
@pytest.mark.parametrize("bits", [6, 10, 16])
def test_distances_are_close_to_the_exact_ones(bits: int, name: str) -> None:
    config = Config(match_bits=bits, float_format=name, reuse_distance=0.5)
    form, rng = FORMATS[name], np.random.default_rng(bits)
    rows = rng.standard_normal((200, 64))
    pairs = form.encode(rows), form.encode(rows + rng.standard_normal((200, 64)) * rng.uniform(0, 1, (200, 1)))
    got, near = compare(config, *pairs)
    here, there = map(form.decode, pairs)
    norm = np.linalg.norm(here, axis=1)
    exact = np.linalg.norm(here - there, axis=1) / norm
    # Elements are off by half a unit of the largest of both rows: the gap by up to 64 whole ones, the norm by half.
    unit = 2.0 ** (np.floor(np.log2(np.abs(np.concatenate([here, there], axis=1)).max(axis=1))) - (bits - 2))
    allowed = 8 * unit / norm * (1 + exact / 2) / (1 - 4 * unit / norm)
    assert (np.abs(got - exact) <= allowed).all()
    # The limit is rounded to 16 bits.
    assert near[got < 0.5 - 2.0**-16].all()
    assert not near[got > 0.5 + 2.0**-16].any()


@pytest.mark.parametrize("name", FLOAT_FORMATS)
def test_the_largest_rows_do_not_overflow(name: str) -> None:
    config = Config(head_dim=256, match_bits=16, float_format=name, reuse_distance=2.0)
    form = FORMATS[name]
    most = (form.exponent_max << form.fraction_bits) - 1
    row, other = [most] * 256, [most | 1 << (form.bits - 1)] * 256
    for pair in ((row, other), (row, row), (other, row), ([0] * 256, row)):
        distance, near = compare(config, *(np.array([each], np.uint16) for each in pair))
        assert (distance[0], near[0]) == compare_by_hand(config, *pair)


def drifting(values: list[float]) -> Head:
    """One place, whose query moves along a line from frame to frame."""
    q = np.zeros((len(values), 16), np.float32)
    q[:, 3] = values
    still = np.ones_like(q)
    return Head("drifting", q, still, still, (len(values), 1, 1))


@pytest.mark.parametrize(
    ("values", "reference"),
    [
        # 0.06 / 1.06 is near; 0.12 / 1.12 is not, though the row between is: no error adds up.
        ([1, 1.06, 1.12, 1.18], [0, 0, 2, 2]),
        ([1, 1.05, 1.05, 1.05], [0, 0, 0, 0]),
        ([1, 2, 1, 2], [0, 1, 2, 3]),
        ([1, -1, -1, 1], [0, 1, 1, 3]),
        # Relative to the row itself, not to its reference: 0.1 / 1.1 is near and 0.1 / 0.9 is not.
        ([1, 1.1], [0, 0]),
        ([1, 0.9], [0, 1]),
        # Rows of zeros are computed: they have no relative distance.
        ([0, 0, 0], [0, 1, 2]),
    ],
)
def test_chains_by_hand(tiny: Config, values: list[float], reference: list[int]) -> None:
    config = dataclasses.replace(tiny, reuse_distance=0.1)
    head = drifting(values)
    assert match(config, head).reference.tolist() == reference


def test_the_distance_itself_is_not_near_enough(tiny: Config) -> None:
    config = dataclasses.replace(tiny, reuse_distance=0.5)
    head = drifting([1, 2, 2])
    got = match(config, head)
    assert got.distance.tolist() == [math.inf, 0.5, 0]
    assert got.reference.tolist() == [0, 1, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_computed_and_refer_to_nobody(tiny: Config, value: float) -> None:
    config = dataclasses.replace(tiny, reuse_distance=1.0)
    head = drifting([1, value, 1, 1])
    got = match(config, head)
    assert got.reference.tolist() == [0, 1, 2, 2]
    assert got.distance.tolist() == [math.inf, math.inf, math.inf, 0]


def test_without_a_distance_nothing_is_compared(tiny: Config) -> None:
    head = drifting([1, 1, 1])
    got = match(tiny, head)
    assert got.computed.all()
    assert np.isinf(got.distance).all()
    assert got.operations == 0


def test_operations_are_those_of_all_later_frames(tiny: Config, make_head: MakeHead) -> None:
    config = dataclasses.replace(tiny, reuse_distance=0.1)
    head = make_head((3, 4, 5), 7)
    # Difference, its square and the row's own: three a channel, and one comparison a row.
    assert match(config, head).operations == 2 * 20 * (3 * 16 + 1)


def test_results_of_alike_rows_are_alike(tiny: Config, make_head: MakeHead) -> None:
    config = dataclasses.replace(tiny, reuse_distance=0.12)
    head = make_head((4, 4, 8))
    still = np.tile(head.q[:32], (4, 1)) + np.float32(0.1) * head.q
    head = dataclasses.replace(head, q=still)
    got = match(config, head)
    assert 0.3 < got.computed.mean() < 0.9
    assert isinstance(got, Matching)
    reference = attend(head)
    assert relative_l2(got.expand(reference), reference) < 0.2
    assert (got.expand(reference)[got.computed] == reference[got.computed]).all()
