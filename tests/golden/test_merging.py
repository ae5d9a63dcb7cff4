from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from golden.merging import Distance, Merged, adaptiv, attend_merged, cmc, left_and_up, merge, previous_frame
from golden.oracle import dense
from golden.traces import Head, load

MakeHead = Callable[..., Head]
RULES = [cmc, adaptiv]


def difference(values: list[float]) -> Distance:
    x = np.array(values)
    return lambda tokens, candidates: np.abs(x[candidates] - x[tokens][:, None])


def test_merge_by_hand() -> None:
    # Three frames of two tokens. Token 0: 0.0, 0.4, 0.8; frame 2 is 0.4 from frame 1 but 0.8 from what stands for it.
    # Token 1: 5, 9, 0.3; the last is closest to what stands for token 0 of frame 1.
    stages = previous_frame((3, 1, 2), 0)
    assert merge(6, stages, difference([0, 5, 0.4, 9, 0.8, 0.3]), 0.5).tolist() == [0, 1, 0, 3, 4, 0]
    assert merge(6, stages, difference([0, 5, 0.5, 9, 1, 7]), 0.5).tolist() == [0, 1, 0, 3, 4, 5]
    assert merge(6, stages, difference([0, 5, 0.4, 9, 0.8, 0.3]), -1).tolist() == list(range(6))
    assert merge(6, stages, difference([0, 5, 0.4, 9, 0.8, 0.3]), np.inf).tolist() == [0, 1, 0, 1, 0, 0]


def test_cmc_by_hand() -> None:
    # One channel, two frames of two tokens: queries 0, 10 and 0.2, 17; keys and values 0, 10 and 0.1, 17.
    q, k = (np.array([[0], [10], [x], [17]], np.float32) for x in (0.2, 0.1))
    merged = cmc(Head("hand", q, k, k, (2, 1, 2)), 9 / 16)
    assert (merged.rows.tolist(), merged.keys.tolist()) == ([0, 1, 0, 3], [0, 1, 0, 3])
    assert merged.pairs == 9


@pytest.mark.parametrize("rule", RULES)
def test_keys_are_compared_by_their_values_too(rule: Callable[[Head, float], Merged]) -> None:
    # Rows of two tokens, two frames; only the values differ, and only in the last token.
    x = np.array([[1, 1], [1, 1], [1, 1], [1, 1]], np.float32)
    v = np.array([[1, 1], [1, 1], [1, 1], [-9, -9]], np.float32)
    merged = rule(Head("hand", x, x, v, (2, 1, 2)), 6 / 16)
    assert merged.keys.tolist() == ([0, 1, 0, 3] if rule is cmc else [0, 0, 2, 3])


def test_adaptiv_by_hand() -> None:
    # Signs of a row of three tokens: the second differs from the first in one of four channels, the third in three
    # from the first, which stands for the second by then.
    x = np.array([[1, 1, 1, 1], [1, 1, 1, -1], [1, -1, -1, -1]], np.float32)
    merged = adaptiv(Head("hand", x, x, x, (1, 1, 3)), 4 / 9)
    assert (merged.rows.tolist(), merged.keys.tolist()) == ([0, 0, 2], [0, 0, 2])


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 7), st.integers(0, 5))
def test_candidates_are_the_neighbours(frames: int, height: int, width: int, text: int) -> None:
    size = height * width

    def coordinates(token: int) -> tuple[int, int, int]:
        frame, spot = divmod(token - text, size)
        return frame, *divmod(spot, width)

    visited = []
    for stage in previous_frame((frames, height, width), text):
        assert (stage.candidates[:, 0] == stage.tokens - size).all()  # the same place comes first
        for token, candidates in zip(stage.tokens.tolist(), stage.candidates.tolist(), strict=True):
            f, y, x = coordinates(token)
            places = {(f - 1, b, a) for b in range(height) for a in range(width) if abs(b - y) < 2 and abs(a - x) < 2}
            assert {coordinates(c) for c in candidates} == places
            visited.append(token)
    assert visited == list(range(text + size, text + frames * size))

    seen = {text + f * size for f in range(frames)}
    for stage in left_and_up((frames, height, width), text):
        for token, candidates in zip(stage.tokens.tolist(), stage.candidates.tolist(), strict=True):
            f, y, x = coordinates(token)
            neighbours = {token - 1} if x else set()
            neighbours |= {token - width} if y else set()
            assert set(candidates) - {token} == neighbours
            assert neighbours <= seen
        seen |= set(stage.tokens.tolist())
    assert seen == set(range(text, text + frames * size))


def test_equal_tokens_merge_without_error(make_head: MakeHead) -> None:
    head = make_head((1, 4, 5), 3)
    again = np.random.default_rng(2).integers(0, 10, 23)
    again[:10] = np.arange(10)
    head = Head("twins", head.q[again], head.k[again], head.v[again], head.grid, head.text_tokens)
    exact = dense(head.q, head.k, head.v)
    for average in (False, True):
        # log(count) makes up for the keys left out; what remains is rounding of float64.
        assert np.allclose(attend_merged(head, Merged(again, again), average), exact, rtol=1e-12, atol=1e-13)


def test_merged_attention_by_hand() -> None:
    q = np.array([[2.0], [4.0], [6.0]], np.float32)
    k = np.array([[1.0], [0.0], [0.5]], np.float32)
    v = np.array([[3.0], [10.0], [5.0]], np.float32)
    head = Head("hand", q, k, v, (1, 1, 3))
    merged = Merged(rows=np.array([0, 1, 0]), keys=np.array([0, 1, 0]))

    def attend(query: float) -> float:  # keys 0.75, for two, and 0; values 4 and 10
        weight = 2 * np.exp(query * 0.75)
        return (weight * 4 + 10) / (weight + 1)

    assert attend_merged(head, merged, False)[:, 0] == pytest.approx([attend(2), attend(4), attend(2)])
    assert attend_merged(head, merged, True)[:, 0] == pytest.approx([attend(4), attend(4), attend(4)])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("share", [0.125, 0.3, 0.5625, 0.9])
def test_the_share_is_met_on_real_heads(sample_path: str, rule: Callable[[Head, float], Merged], share: float) -> None:
    for head in load(sample_path):
        assert 0.98 * share <= rule(head, share).pairs / len(head.q) ** 2 <= share


def least_kept(rule: object, head: Head) -> NDArray[np.int64]:
    """Tokens that a rule must keep: text, and the first frame or the first token of every frame."""
    frames, height, width = head.grid
    first = np.arange(height * width) if rule is cmc else np.arange(frames) * height * width
    return np.concatenate([np.arange(head.text_tokens), head.text_tokens + (first if frames else first[:0])])


@pytest.mark.parametrize("rule", RULES)
@given(
    st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 7)),
    st.integers(1, 9),
    st.floats(1e-3, 1),
    st.sampled_from([0.0, 1e-30, 1.0, 1e30]),
)
def test_stand_ins_are_kept_and_the_share_holds(
    rule: Callable[[Head, float], Merged], grid: tuple[int, int, int], text: int, share: float, scale: float
) -> None:
    x = np.random.default_rng(0).standard_normal((3, int(np.prod(grid)) + text, 8)).astype(np.float32)
    x[:, ::3] *= np.float32(scale)
    head = Head("random", x[0], x[1], x[2], grid, text)
    merged = rule(head, share)
    always = least_kept(rule, head)
    frame = (np.arange(len(head.q)) - text) // (grid[1] * grid[2])
    for stand_in in (merged.rows, merged.keys):
        assert (stand_in[stand_in] == stand_in).all()
        assert (stand_in[always] == always).all()
        assert (frame[stand_in] <= frame).all() if rule is cmc else (frame[stand_in] == frame).all()
    kept = len(np.unique(merged.rows)) * len(np.unique(merged.keys))
    assert merged.pairs == kept
    assert kept <= share * len(head.q) ** 2 or kept == len(always) ** 2
    assert share < 1 or kept == len(head.q) ** 2
