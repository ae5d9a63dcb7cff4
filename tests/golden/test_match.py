from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from golden.config import Config
from golden.match import Matching, match
from golden.oracle import attend, relative_l2
from golden.prepare import prepare
from golden.traces import Head

MakeHead = Callable[..., Head]


def match_by_hand(config: Config, head: Head) -> tuple[list[float], list[int]]:
    """Distances and references, token by token; rotations keep distances, so they need none."""
    frames, height, width = head.grid
    q = head.q.astype(np.float64)
    distance, reference = [math.inf] * len(q), list(range(len(q)))
    for place in range(height * width):
        last = head.text_tokens + place
        for frame in range(frames):
            token = head.text_tokens + frame * height * width + place
            if frame and np.isfinite(q[token]).all() and np.isfinite(q[last]).all() and q[token].any():
                gap, norm = (math.sqrt(sum(x * x for x in row)) for row in ((q[token] - q[last]).tolist(), q[token]))
                distance[token] = gap / norm
            if config.reuse_distance and distance[token] < config.reuse_distance:
                reference[token] = last
            else:
                last = token
    return distance, reference


@given(st.data())
def test_matching_follows_its_definition(any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject) -> None:
    config, head = data.draw(any_case)
    distance, reference = match_by_hand(config, head)
    assume(all(abs(d - config.reuse_distance) > 1e-9 for d in distance))
    got = match(config, prepare(config, head), head)
    assert got.reference.tolist() == reference
    if config.reuse_distance:
        assert got.distance == pytest.approx(np.array(distance), rel=1e-6, abs=1e-7)
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
    got = match(config, prepare(config, head), head)
    output = np.where(got.computed, np.arange(len(head.q)), -1.0)[:, None]
    assert got.expand(output)[:, 0].tolist() == got.reference.tolist()


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
    assert match(config, prepare(config, head), head).reference.tolist() == reference


def test_the_distance_itself_is_not_near_enough(tiny: Config) -> None:
    config = dataclasses.replace(tiny, reuse_distance=0.5, rotate=False)
    head = drifting([1, 2, 2])
    got = match(config, prepare(config, head), head)
    assert got.distance.tolist() == [math.inf, 0.5, 0]
    assert got.reference.tolist() == [0, 1, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_computed_and_refer_to_nobody(tiny: Config, value: float) -> None:
    config = dataclasses.replace(tiny, reuse_distance=1.0)
    head = drifting([1, value, 1, 1])
    got = match(config, prepare(config, head), head)
    assert got.reference.tolist() == [0, 1, 2, 2]
    assert got.distance.tolist() == [math.inf, math.inf, math.inf, 0]


def test_without_a_distance_nothing_is_compared(tiny: Config) -> None:
    head = drifting([1, 1, 1])
    got = match(tiny, prepare(tiny, head), head)
    assert got.computed.all()
    assert np.isinf(got.distance).all()
    assert got.operations == 0


def test_operations_are_those_of_all_later_frames(tiny: Config, make_head: MakeHead) -> None:
    config = dataclasses.replace(tiny, reuse_distance=0.1)
    head = make_head((3, 4, 5), 7)
    # Difference, its square and the row's own: three a channel, and one comparison a row.
    assert match(config, prepare(config, head), head).operations == 2 * 20 * (3 * 16 + 1)


def test_results_of_alike_rows_are_alike(tiny: Config, make_head: MakeHead) -> None:
    config = dataclasses.replace(tiny, reuse_distance=0.12)
    head = make_head((4, 4, 8))
    still = np.tile(head.q[:32], (4, 1)) + np.float32(0.1) * head.q
    head = dataclasses.replace(head, q=still)
    got = match(config, prepare(config, head), head)
    assert 0.3 < got.computed.mean() < 0.9
    assert isinstance(got, Matching)
    reference = attend(head)
    assert relative_l2(got.expand(reference), reference) < 0.2
    assert (got.expand(reference)[got.computed] == reference[got.computed]).all()
