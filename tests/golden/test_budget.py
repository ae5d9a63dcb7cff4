"""The second half of golden.speculate: thresholds that heads share, and the tiers that they give."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.config import Config, Tier
from golden.prepare import prepare
from golden.speculate import Estimate, choose, speculate, thresholds
from golden.traces import Head

MakeHead = Callable[..., Head]


def lowest(candidates: list[int], fits: Callable[[int], bool]) -> float:
    """The lowest threshold that fits; above all candidates if none does."""
    return min((c for c in candidates if fits(c)), default=np.inf)


def tiers_by_hand(config: Config, heads: list[Estimate]) -> list[np.ndarray]:
    """Every threshold tried: the lowest whose pieces have no more than their share of the products."""
    pieces = [
        (int(h.rank[i, j]), int(h.products[i, j]), bool(h.text[j])) for h in heads for i, j in np.ndindex(h.rank.shape)
    ]
    total = sum(h.dense for h in heads)
    found = sorted({c for c, _, _ in pieces})
    lut8 = lowest(found, lambda t: sum(n for c, n, text in pieces if text or c >= t) <= config.top_share * total)
    full = lowest(found, lambda t: sum(n for c, n, _ in pieces if c >= t) <= config.full_share * total)
    made = []
    for h in heads:
        tiers = np.zeros(h.rank.shape, np.int8)
        for i, j in np.ndindex(tiers.shape):
            if h.text[j] or h.rank[i, j] >= lut8:
                is_full = config.digits == 3 and h.rank[i, j] >= full
                tiers[i, j] = Tier.FULL if is_full else Tier.LUT8
        made.append(tiers)
    return made


def estimate(rank: list[list[int]], products: list[list[int]], text: list[bool], reused: float = 0) -> Estimate:
    """What choosing looks at; the rest is empty. `reused` products are of rows that are not computed."""
    none = np.empty((0, 0), np.int64)
    dense = int(np.sum(products) + reused)
    arrays = np.array(rank), np.array(text), np.array(products)
    return Estimate(none, none, none.astype(bool), *arrays, dense=dense, operations=0)


@st.composite
def estimates(draw: st.DrawFn) -> list[Estimate]:
    """Heads of unlike shapes, with many pieces of equal rank."""
    heads = []
    for _ in range(draw(st.integers(1, 3))):
        rows, pieces = draw(st.integers(1, 4)), draw(st.integers(1, 5))
        value = st.sampled_from([-16384, -640, -640, -128, 0]) | st.integers(-700, 2)
        matrix = [draw(st.lists(value, min_size=pieces, max_size=pieces)) for _ in range(rows)]
        sizes = [draw(st.lists(st.integers(1, 16), min_size=n, max_size=n)) for n in (rows, pieces)]
        text = [n < draw(st.integers(0, 2)) for n in range(pieces)]
        heads.append(estimate(matrix, np.outer(sizes[0], sizes[1]).tolist(), text, draw(st.integers(0, 300))))
    return heads


SHARES = st.sampled_from([0.0, 0.05, 0.125, 0.3, 0.7, 1.0])


@given(estimates(), SHARES, st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.integers(2, 3))
def test_thresholds_are_the_lowest_that_fit(heads: list[Estimate], top: float, full: float, digits: int) -> None:
    config = Config(top_share=top, full_share=full * top, digits=digits)
    for got, wanted in zip(choose(config, heads), tiers_by_hand(config, heads), strict=True):
        assert got.dtype == np.int8
        assert got.tolist() == wanted.tolist()


@given(estimates(), SHARES)
def test_thresholds_are_just_above_the_first_rank_that_does_not_fit(heads: list[Estimate], share: float) -> None:
    config = Config(top_share=share, full_share=share)
    got = thresholds(config, heads)
    ranks = np.concatenate([h.rank.ravel() for h in heads])
    products = np.concatenate([h.products.ravel() for h in heads])
    budget = share * sum(h.dense for h in heads)
    steps = sorted({ranks.min(), *(ranks + 1)})
    fits = (t for t in steps if products[ranks >= t].sum() <= budget)
    assert got.full == next(fits)
    text = np.concatenate([np.broadcast_to(h.text, h.rank.shape).ravel() for h in heads])
    if products[text].sum() <= budget and not text.all():
        fits = (t for t in steps if products[(ranks >= t) | text].sum() <= budget)
        # Without any other piece left out, no lower than the lowest of them.
        assert got.lut8 == max(next(fits), ranks[~text].min())


def check_budget(config: Config, heads: list[Estimate], tiers: list[np.ndarray]) -> None:
    """What holds for any heads: no share exceeded, but by text alone; text never below LUT8."""
    total = sum(h.dense for h in heads)
    top, full = (sum(h.products[t >= tier].sum() for h, t in zip(heads, tiers, strict=True)) for tier in (1, 2))
    text = sum(h.products[:, h.text].sum() for h in heads)
    assert top <= max(config.top_share * total, text)
    assert full <= config.full_share * total
    assert all((t[:, h.text] >= Tier.LUT8).all() for h, t in zip(heads, tiers, strict=True))
    assert config.digits == 3 or full == 0


@given(estimates(), SHARES, st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.integers(2, 3))
def test_no_share_is_exceeded(heads: list[Estimate], top: float, full: float, digits: int) -> None:
    config = Config(top_share=top, full_share=full * top, digits=digits)
    check_budget(config, heads, choose(config, heads))


@given(st.data())
def test_no_share_is_exceeded_in_drawn_heads(
    any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject
) -> None:
    config, head = data.draw(any_case)
    other = dataclasses.replace(head, q=head.q[::-1].copy(), v=head.k)
    heads = [speculate(config, prepare(config, each)) for each in (head, other)]
    check_budget(config, heads, choose(config, heads))


def test_the_budget_by_hand() -> None:
    one = [[1] * 4]
    config = Config(digits=3, top_share=0.5, full_share=0.25)
    # Eight pieces alike in size: the four, and two, of the highest ranks in both heads.
    heads = [estimate([[-10, -90, -20, -30]], one, [False] * 4), estimate([[-80, -70, -40, -95]], one, [False] * 4)]
    assert [t.tolist() for t in choose(config, heads)] == [[[2, 0, 2, 1]], [[0, 0, 1, 0]]]
    # Text comes first and takes its part of the budget.
    heads[1] = estimate([[-80, -70, -40, -95]], one, [True, True, False, False])
    assert [t.tolist() for t in choose(config, heads)] == [[[2, 0, 2, 0]], [[1, 1, 0, 0]]]
    # Pieces of equal rank are in or out together.
    heads = [estimate([[-50, -50, -50, -90]], one, [False] * 4)]
    assert choose(config, heads)[0].tolist() == [[0, 0, 0, 0]]
    # What reused rows save is there for others.
    heads = [estimate([[-50, -50, -50, -90]], one, [False] * 4, reused=2)]
    assert choose(config, heads)[0].tolist() == [[1, 1, 1, 0]]
    # Products count, not pieces.
    heads = [estimate([[-10, -20, -30, -90]], [[1, 3, 1, 3]], [False] * 4)]
    assert choose(config, heads)[0].tolist() == [[2, 1, 0, 0]]


def test_text_that_takes_all_leaves_no_full_tier_to_others() -> None:
    config = Config(digits=3, top_share=0.5, full_share=0.5)
    heads = [estimate([[-90, -80, -10, -20]], [[1] * 4], [True, True, False, False])]
    assert choose(config, heads)[0].tolist() == [[1, 1, 0, 0]]


def test_shares_of_one_and_of_nothing(tiny: Config, make_head: MakeHead) -> None:
    got = speculate(tiny, prepare(tiny, make_head((2, 5, 6), 5)))
    for top, full, expected in ((1.0, 1.0, {2}), (1.0, 0.0, {1}), (0.0, 0.0, {0, 1})):
        config = dataclasses.replace(tiny, top_share=top, full_share=full)
        (tiers,) = choose(config, [got])
        assert set(np.unique(tiers)) == expected
    assert ((tiers == Tier.LUT8) == got.text[None, :]).all()


def test_concentrated_heads_get_more_of_the_budget(tiny: Config, make_head: MakeHead) -> None:
    heads = [speculate(tiny, prepare(tiny, make_head((2, 8, 8), scale=scale))) for scale in (2.0, 0.3)]
    sharp, diffuse = (np.mean(t > 0) for t in choose(tiny, heads))
    assert sharp > 0.2
    assert diffuse < 0.05


def test_no_heads_are_refused(tiny: Config) -> None:
    with pytest.raises(ValueError, match="heads: must be at least one"):
        thresholds(tiny, [])
