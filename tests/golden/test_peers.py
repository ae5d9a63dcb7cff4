from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.config import Config
from golden.oracle import dense, relative_l2
from golden.peers import PEERS, Outcome, quantised
from golden.tiles import make_tiles
from golden.traces import Head, load

MakeHead = Callable[..., Head]
FIXED = {"int4": 1.0, "int8": 2.0}
MASKS, MERGING = ["sparge", "svg"], ["cmc", "adaptiv"]
GRIDS = [(2, 4, 8), (3, 5, 7), (1, 9, 5), (7, 1, 3)]


def run(name: str, head: Head, wanted: float, most: int = 16) -> Outcome:
    """The rule's outcome, with query tiles half as large as key tiles."""
    rows, columns = (make_tiles(Config(), head.grid, head.text_tokens, size) for size in (most // 2, most))
    return PEERS[name](head, rows, columns, wanted)


def smooth(grid: tuple[int, int, int], text: int = 0, head_dim: int = 16) -> Head:
    """Tokens that change slowly over the video, so that tiles are alike and every rule has something to leave out."""
    frames, height, width = grid
    f, y, x = (part.reshape(-1, 1) for part in np.mgrid[:frames, :height, :width])
    phase = np.random.default_rng(0).standard_normal((4, 3, head_dim))
    waves = [np.sin(f * 0.05 * a[0] + (y + x) * 0.1 * a[1] + phase[3, i] * 3) for i, a in enumerate(phase[:3])]
    noise = np.random.default_rng(1).standard_normal((3, frames * height * width + text, head_dim))
    q, k, v = (
        np.concatenate([n[:text], w + 0.05 * n[text:]]).astype(np.float32) for n, w in zip(noise, waves, strict=True)
    )
    return Head("smooth", q, k, v, grid, text)


@pytest.mark.parametrize("name", [*MASKS, *MERGING])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("text", [0, 5])
def test_full_work_is_dense_attention(name: str, grid: tuple[int, int, int], text: int) -> None:
    head = smooth(grid, text)
    got = run(name, head, 2.0)
    assert got.work == 2.0
    # The same sums in float64 in another order.
    assert np.allclose(got.output, dense(head.q, head.k, head.v), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("name", "low", "high"), [("int8", 1e-4, 0.01), ("int4", 0.02, 0.2)])
def test_uniform_codes_cost_and_err_as_they_should(sample_path: str, name: str, low: float, high: float) -> None:
    # A step is 2 / 15 or 2 / 255 of a token's range: errors of some percent and some thousandths.
    for head in load(sample_path):
        got = [run(name, head, wanted) for wanted in (0.1, 2.0)]
        assert [outcome.work for outcome in got] == [FIXED[name]] * 2
        assert (got[0].output == got[1].output).all()
        assert low < relative_l2(got[0].output, dense(head.q, head.k, head.v)) < high


def test_quantised_by_hand() -> None:
    # Mean (1, 0); centred rows (7, 3.4), (-7, -3.4), (0, 0): scale 1, codes (7, 3), (-7, -3), nothing to round.
    x = np.array([[8, 3.4], [-6, -3.4], [1, 0]])
    assert quantised(x, 4) == pytest.approx(np.array([[8, 3], [-6, -3], [1, 0]]))
    assert np.abs(quantised(x, 8) - x).max() <= 7 / 127 / 2


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("wanted", [0.5, 1.0, 1.6])
@pytest.mark.parametrize(("grid", "text"), [((4, 4, 4), 0), ((3, 5, 7), 6)])
def test_work_of_masks_is_what_shows_in_the_output(
    name: str, wanted: float, grid: tuple[int, int, int], text: int
) -> None:
    head = smooth(grid, text)
    tokens = len(head.q)
    channels = ((0, 0), (0, tokens - 16))
    # One channel a token: the output is the probabilities themselves, zero where a pair was dropped.
    head = Head("p", np.pad(head.q, channels), np.pad(head.k, channels), np.eye(tokens, dtype=np.float32), grid, text)
    got = run(name, head, wanted, 8)
    assert got.work == pytest.approx(2 * np.count_nonzero(got.output) / tokens**2)
    assert got.work < 2.0
    assert got.output.sum(axis=1) == pytest.approx(np.ones(tokens))


@pytest.mark.parametrize("name", MERGING)
@pytest.mark.parametrize("wanted", [0.7, 1.0, 1.6])
@pytest.mark.parametrize(("grid", "text"), [((4, 4, 4), 0), ((3, 5, 7), 6)])
def test_work_of_merging_is_what_shows_in_the_output(
    name: str, wanted: float, grid: tuple[int, int, int], text: int
) -> None:
    head = smooth(grid, text)
    got = run(name, head, wanted)
    # Rows that take another's result are equal to it. Keys cannot be seen from outside: as many as the work says.
    rows = len(np.unique(got.output, axis=0))
    keys = got.work / 2 * len(head.q) ** 2 / rows
    assert rows < len(head.q)
    assert keys == pytest.approx(round(keys))
    assert round(keys) <= len(head.q)
    assert got.work <= wanted


@pytest.mark.parametrize("name", [*MASKS, *MERGING])
def test_error_falls_with_work_on_real_heads(sample_path: str, name: str) -> None:
    for head in load(sample_path):
        exact = dense(head.q, head.k, head.v)
        wanted = (0.65, 0.9, 1.25, 1.6, 2.0)
        outcomes = [run(name, head, work, 64) for work in wanted]
        errors = [relative_l2(outcome.output, exact) for outcome in outcomes]
        # A rule judges by estimates: a little more work may hurt a little, never much.
        assert all(later <= 1.05 * earlier for earlier, later in itertools.pairwise(errors))
        assert errors[-1] < 1e-12 < errors[0]
        assert all(0.98 * w <= got.work <= w for got, w in zip(outcomes, wanted, strict=True))


@pytest.mark.parametrize("name", ["svg", "cmc", "adaptiv"])
def test_text_tokens_are_never_left_out(name: str) -> None:
    head = smooth((4, 5, 5), 4)
    # Value 1 for text, 0 for the video: the output is the mass on text, and a text query's is exact where it keeps all.
    value = np.zeros_like(head.v)
    value[:4] = 1
    q, k = head.q.copy(), head.k.copy()
    q[:, 0], k[:4, 0], k[4:, 0] = 12, 12, -12
    got = run(name, Head("text", q, k, value, head.grid, 4), 0.3)
    assert got.output == pytest.approx(np.ones(head.v.shape))


@pytest.mark.parametrize("name", sorted(PEERS))
@pytest.mark.parametrize("wanted", [0.0, -0.5, 2.001, float("nan"), float("inf")])
def test_impossible_work_is_refused(make_head: MakeHead, name: str, wanted: float) -> None:
    with pytest.raises(ValueError, match=rf"wanted = {wanted}: must be above 0 and at most 2 passes"):
        run(name, make_head(), wanted)


@pytest.mark.parametrize("name", sorted(PEERS))
@settings(max_examples=60)
@given(
    st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 7)),
    st.integers(1, 9),
    st.floats(1e-3, 2),
    st.sampled_from([0.0, 1e-38, 1.0, 1e3, 1e38]),
    st.integers(2, 20),
)
def test_outputs_are_means_of_values(
    name: str, grid: tuple[int, int, int], text: int, wanted: float, scale: float, most: int
) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (3, int(np.prod(grid)) + text, 8)).astype(np.float32)
    x[:, ::3] *= np.float32(scale)
    head = Head("random", x[0], x[1], x[2], grid, text)
    got = run(name, head, wanted, most)
    assert got.output.shape == head.v.shape
    assert got.output.dtype == np.float64
    assert 0 < got.work <= 2.0
    assert got.work == FIXED.get(name, got.work)
    # Half a step of INT4 beyond the values at most, by the largest deviation from the mean; rounding otherwise.
    room = np.abs(head.v).max() * (2 / 14 if name in FIXED else 1e-6)
    assert (got.output >= head.v.min(axis=0) - room).all()
    assert (got.output <= head.v.max(axis=0) + room).all()
