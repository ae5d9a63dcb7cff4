from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import speculate as module
from golden.config import FLOAT_FORMATS, Config, Tier
from golden.estimate import unseen
from golden.formats import FORMATS
from golden.group import compact
from golden.oracle import rank as exact_rank
from golden.prepare import Prepared, prepare
from golden.speculate import CHOICE_STEPS, Estimate, frame_floor, speculate
from golden.tiles import TEXT, Tiles
from golden.traces import Head, load
from tests.golden import by_hand
from tests.golden.by_hand import Sum

MakeHead = Callable[..., Head]


def query_sums(config: Config, prepared: Prepared, rows: Tiles, start: np.ndarray) -> list[Sum]:
    """Pooled queries between successive starts; rows that are not finite count as zeros."""
    form, numbers, exponents = FORMATS[config.float_format], [], []
    for word in prepared.operands.query[prepared.places(rows)].tolist():
        good = by_hand.finite(form, word)
        exponents.append(by_hand.shared(form, word) if good else 1)
        aligned = (by_hand.aligned(form, each, config.query_bits, exponents[-1]) if good else 0 for each in word)
        numbers.append(list(aligned))
    return [by_hand.pooled(config, numbers[a:b], exponents[a:b]) for a, b in pairwise(start.tolist())]


def key_sums(config: Config, prepared: Prepared, start: np.ndarray) -> list[Sum]:
    keys = prepared.key_vector.tolist()
    return [by_hand.pooled(config, keys[a:b], [0] * (b - a)) for a, b in pairwise(start.tolist())]


def scale_of(config: Config, prepared: Prepared) -> tuple[int, int]:
    """What turns a product of aligned queries and keys into a score: units of both, and the softmax factor."""
    bias = FORMATS[config.float_format].bias
    key_unit = prepared.key_statistics.exponent - bias - (config.input_bits - 2)
    return prepared.factor[0], prepared.factor[1] + key_unit - bias - (config.query_bits - 2)


def kept_by_hand(config: Config, prepared: Prepared, rows: Tiles, ranks: list[list[int]]) -> list[list[bool]]:
    """Frames that are judged: text, the first, the own one, and those with a key of enough estimated probability."""
    frames = sorted(set(prepared.key_tiles.frame.tolist()))
    first = next((f for f in frames if f != TEXT), TEXT)
    steps, least = 1 << config.estimate_fraction_bits, -(1 << config.estimate_bits)
    floor = least
    if config.frame_mass < 1:
        floor = max(least, math.floor(math.log2((1 - config.frame_mass) / len(prepared.key_vector)) * steps))
    return [
        [f in {TEXT, first, own} or rank >= floor for f, rank in zip(frames, each, strict=True)]
        for own, each in zip(rows.frame.tolist(), ranks, strict=True)
    ]


def piece_ranks_by_hand(config: Config, prepared: Prepared, rows: Tiles, kept: list[list[bool]]) -> list[list[int]]:
    """Ranks of all pieces for every query tile: the largest of its cells'."""
    columns, found = prepared.key_tiles, []
    frames = sorted(set(columns.frame.tolist()))
    keys = key_sums(config, prepared, columns.cell_start)
    # A cell belongs to the frame of its tile, which is that of the tile's first token.
    frame_of = [frames.index(columns.frame[cell * config.cell // config.tile]) for cell in range(len(keys))]
    piece_of = [cell * config.cell // config.piece for cell in range(len(keys))]
    queries = query_sums(config, prepared, rows, rows.cell_start)
    for tile, (first, last) in enumerate(pairwise(rows.start.tolist())):
        inside = [kept[tile][frame] for frame in frame_of]
        cells = [q for q, start in zip(queries, rows.cell_start.tolist(), strict=False) if first <= start < last]
        each = [by_hand.ranks(config, q, keys, scale_of(config, prepared), piece_of, inside) for q in cells]
        found.append([max(column) for column in zip(*each, strict=True)])
    return found


@settings(max_examples=60)
@given(st.data())
def test_every_intermediate_follows_its_definition(
    any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject
) -> None:
    config, head = data.draw(any_case)
    prepared = prepare(config, head)
    computed = np.random.default_rng(0).random(len(head.q)) < data.draw(st.sampled_from([0.5, 1.0]))
    computed[0] = True
    rows, columns = compact(config, prepared.query_tiles, computed), prepared.key_tiles
    got = speculate(config, prepared, rows)
    queries, keys = query_sums(config, prepared, rows, rows.start), key_sums(config, prepared, columns.start)
    scale = scale_of(config, prepared)
    assert got.tile_score.tolist() == [[by_hand.score(config, q, k, scale) for k in keys] for q in queries]
    frames = sorted(set(columns.frame.tolist()))
    frame_of = [frames.index(frame) for frame in columns.frame]
    all_of_them = [True] * len(keys)
    ranks = [by_hand.ranks(config, q, keys, scale, frame_of, all_of_them) for q in queries]
    assert got.frame_rank.tolist() == ranks
    kept = kept_by_hand(config, prepared, rows, ranks)
    assert got.frames_kept.tolist() == kept
    assert got.rank.tolist() == piece_ranks_by_hand(config, prepared, rows, kept)
    assert got.text.tolist() == [columns.place_frame[place] == TEXT for place in columns.piece_start[:-1]]
    sizes = [np.diff(start).tolist() for start in (rows.start, columns.piece_start)]
    assert got.products.tolist() == [[n * m for m in sizes[1]] for n in sizes[0]]
    assert got.dense == len(head.q) ** 2
    for each in (got.rank, got.frame_rank):
        assert -(1 << (config.rank_bits - 1)) <= each.min() <= each.max() <= 2


def test_text_the_first_and_the_own_frame_are_judged_without_a_score(tiny: Config) -> None:
    # 16 tokens of text and five frames of one key tile each; all queries look into frame 3 alone.
    q, k = np.zeros((2, 96, 16), np.float32)
    q[:, 0], k[64:80, 0] = 8, 8
    head = Head("one frame", q, k, np.ones((96, 16), np.float32), (5, 4, 4), 16)
    config = dataclasses.replace(tiny, rotate=False)
    got = speculate(config, prepare(config, head))
    own = np.repeat(np.arange(6), 2)  # query tiles are half as large; 0 is text, 1 the first frame
    assert got.frames_kept.tolist() == [[f in {0, 1, 4, n} for f in range(6)] for n in own]
    assert (got.rank[~np.repeat(got.frames_kept, 4, axis=1)] == unseen(config)).all()


def test_skipped_frames_hold_less_than_the_rest_of_the_mass() -> None:
    for mass, tokens in ((0.99, 1000), (0.3, 64), (0.5, 131072)):
        config = Config(frame_mass=mass)
        floor = frame_floor(config, tokens) / (1 << config.estimate_fraction_bits)
        # All keys below it, and one step of rounding.
        assert (1 - mass) / 2 ** (1 / 64) <= 2**floor * tokens <= 1 - mass
    assert frame_floor(Config(frame_mass=1.0), 1000) == unseen(Config())
    assert frame_floor(Config(frame_mass=1 - 1e-16), 1 << 17) > unseen(Config())


@pytest.mark.parametrize("scale", [300.0, 3000.0])
def test_all_mass_means_all_frames(tiny: Config, make_head: MakeHead, scale: float) -> None:
    head = make_head((6, 4, 8))
    head = dataclasses.replace(head, q=head.q * np.float32(scale))
    kept = speculate(dataclasses.replace(tiny, frame_mass=1.0), prepare(tiny, head)).frames_kept
    assert kept.all()
    # Most scores saturate: all but the best are out of reach.
    fewer = speculate(dataclasses.replace(tiny, frame_mass=0.9), prepare(tiny, head)).frames_kept
    assert not fewer.all()


def test_all_mass_means_all_frames_though_ranks_saturate(tiny: Config) -> None:
    # Many keys of the highest score there is, in all frames but one, whose score is the lowest.
    q, k = np.zeros((2, 320, 16), np.float32)
    q[:, 0] = 1000
    k[:, 0] = np.repeat([1, -15], [300, 20])
    head = Head("saturated", q, k, np.ones((320, 16), np.float32), (16, 4, 5))
    config = dataclasses.replace(tiny, rotate=False, tile=20, piece=20, lanes=4, cell=1, frame_mass=1.0)
    got = speculate(config, prepare(config, head))
    assert got.frame_rank.min() == unseen(config)
    assert got.frames_kept.all()


def test_operations_are_counted_by_hand(make_head: MakeHead) -> None:
    config = Config(head_dim=16, query_rows=32, tile=16, lanes=16, piece=8, cell=4, frame_mass=1.0)
    prepared = prepare(config, make_head((2, 8, 8), 16, scale=20.0))
    # 144 tokens. Query: 5 tiles and 36 cells; key: 9 tiles, 18 pieces, 36 cells.
    pooled = (144 + 144) * 16
    scores = 5 * 9 + 36 * 36
    assert speculate(config, prepared).operations == pooled + scores * (16 + 5) + 5 * 18 * CHOICE_STEPS
    one_frame = dataclasses.replace(config, frame_mass=1e-9)
    kept = speculate(one_frame, prepared).frames_kept
    # Text queries and those of frame 0 look into text and frame 0, others also into frame 1.
    cells = sum(n * (4 * k[0] + 16 * k[1] + 16 * k[2]) for n, k in zip([8, 8, 8, 8, 4], kept.tolist(), strict=True))
    assert kept.sum() < 15
    assert speculate(one_frame, prepared).operations == pooled + (45 + cells) * 21 + 5 * 18 * CHOICE_STEPS


def test_speculation_costs_less_than_its_goal() -> None:
    config = Config()
    q, k, v = np.random.default_rng(0).standard_normal((3, 226 + 5 * 30 * 45, 64)).astype(np.float32)
    head = Head("long", q, k, v, (5, 30, 45), 226)
    got = speculate(config, prepare(config, head))
    assert got.operations / (2 * len(head.q) ** 2 * 64) < 0.016


def test_batches_change_nothing(tiny: Config, make_head: MakeHead, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(tiny, make_head((3, 5, 7), 9))
    whole = speculate(tiny, prepared)
    for size in (1, 2000, 9000):
        monkeypatch.setattr(module, "BATCH", size)
        assert (speculate(tiny, prepared).rank == whole.rank).all()


@pytest.mark.parametrize("name", FLOAT_FORMATS)
@pytest.mark.parametrize("bits", [9, 14])
def test_with_cells_of_one_token_ranks_are_those_of_the_attention(
    tiny: Config, make_head: MakeHead, bits: int, name: str
) -> None:
    config = dataclasses.replace(tiny, cell=1, frame_mass=1.0, pool_bits=bits, float_format=name)
    prepared = prepare(config, make_head((2, 5, 6), 3))
    score = prepared.query @ prepared.key.T
    p = np.exp2(score - score.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    rows, columns = prepared.query_tiles.start[:-1], prepared.key_tiles.piece_start[:-1]
    exact = np.log2(np.maximum.reduceat(np.maximum.reduceat(p, columns, axis=1), rows, axis=0))
    # A vector of `bits` bits, its largest element at least half of what they hold, is off by half a unit in every
    # element; queries once more by their own alignment.
    units = [np.abs(x).max(axis=1) * 2.0 ** (2 - bits) for x in (prepared.query, prepared.key)]
    sums = [np.abs(x).sum(axis=1) for x in (prepared.query, prepared.key)]
    off = (units[0].max() * sums[1].max() + units[1].max() * sums[0].max()) / 2
    off += units[0].max() * units[1].max() * 16 / 4 + units[0].max() * 2.0 ** (bits - config.query_bits) * sums[1].max()
    # One key's score and the mass of all may both be off so far; then test_estimate's roundings of each.
    steps = 1 << config.estimate_fraction_bits
    allowed = 2 * off + (0.5 + 0.5 + 1.25) / steps + np.log2(1 + 3 * 63 / (1 << 11))
    found = speculate(config, prepared).rank / steps
    assert np.abs(found - exact).max() <= allowed
    # All in all far less than it might be.
    assert np.abs(found - exact).mean() < {9: 0.05, 14: 0.03}[bits]


@pytest.mark.parametrize("index", [0, 1])
def test_the_estimate_follows_the_attention_of_real_heads(sample_path: str, index: int) -> None:
    config = Config()
    prepared = prepare(config, load(sample_path)[index])
    got = speculate(config, prepared).rank.ravel()
    exact = exact_rank(prepared, prepared.query_tiles).ravel()
    square = np.exp2(2 * exact / (1 << config.estimate_fraction_bits))
    count = len(exact) // 8
    chosen, best = (square[np.argsort(-each, kind="stable")[:count]].sum() for each in (got, exact))
    # Of the p**2 that the best eighth of the pieces holds, the estimate's eighth has most; a random one has far less.
    assert chosen > (0.93, 0.75)[index] * best


def plant(head: Head, prepared: Prepared, query_tile: int, key_piece: int, strength: float) -> Head:
    """The head with the keys of one piece turned towards the queries of one query tile."""
    q, k = head.q.copy(), head.k.copy()
    direction = np.eye(head.q.shape[1], dtype=np.float32)[5] * strength
    q[prepared.query_tiles.tile_of == query_tile] += direction
    columns = prepared.key_tiles
    k[columns.order[columns.piece_start[key_piece] : columns.piece_start[key_piece + 1]]] += direction
    return dataclasses.replace(head, q=q, k=k)


@pytest.mark.parametrize("key_piece", [1, 22, 47])
@pytest.mark.parametrize("query_tile", [0, 13])
def test_a_planted_hot_piece_is_found(tiny: Config, make_head: MakeHead, query_tile: int, key_piece: int) -> None:
    config = dataclasses.replace(tiny, top_share=0.01, full_share=0.0)
    head = make_head((3, 8, 8), scale=0.3)
    prepared = prepare(config, head)
    got = speculate(config, prepare(config, plant(head, prepared, query_tile, key_piece, strength=6.0)))
    assert got.rank[query_tile].argmax() == key_piece
    assert got.rank.max() == got.rank[query_tile, key_piece]
    assert got.frame_rank[query_tile].argmax() == key_piece // 16
    (tiers,) = module.choose(config, [got])
    assert tiers[query_tile, key_piece] == Tier.LUT8


def test_a_strong_cell_of_a_cold_tile_is_found(tiny: Config, make_head: MakeHead) -> None:
    config = dataclasses.replace(tiny, rotate=False)
    head = make_head((1, 8, 8), scale=0.05)
    prepared = prepare(config, head)
    columns = prepared.key_tiles
    k = np.zeros_like(head.k)
    k[columns.order[16:32], 0] = 2  # one tile is a little warm everywhere,
    k[columns.order[32:48], 0] = -4
    k[columns.order[36:38], 0] = 12  # another hot in a cell, cold elsewhere: its mean is low
    q = head.q + np.eye(16, dtype=np.float32)[0] * 4
    got = speculate(config, prepare(config, dataclasses.replace(head, q=q, k=k)))
    assert (got.tile_score[:, 1] > got.tile_score[:, 2]).all()
    assert (got.rank.argmax(axis=1) == 9).all()


def test_speculation_is_repeatable_and_leaves_its_input_alone(tiny: Config, make_head: MakeHead) -> None:
    head = make_head()
    head.q[3] = np.nan
    prepared = prepare(tiny, head)
    before = prepared.query.copy(), prepared.key.copy()
    first, second = (speculate(tiny, prepared) for _ in range(2))
    for field in dataclasses.fields(Estimate):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name)), field.name
    assert np.array_equal(prepared.query, before[0], equal_nan=True)
    assert np.array_equal(prepared.key, before[1])


@pytest.mark.parametrize("rotate", [True, False])
def test_invalid_query_rows_count_as_zeros(tiny: Config, make_head: MakeHead, rotate: bool) -> None:
    config = dataclasses.replace(tiny, rotate=rotate)
    head = make_head((3, 8, 8))
    other = dataclasses.replace(head, q=head.q.copy())
    other.q[77] = 0
    head.q[77, 2] = np.inf
    first, second = (speculate(config, prepare(config, each)) for each in (head, other))
    assert (first.rank == second.rank).all()
    assert (first.frame_rank == second.frame_rank).all()
