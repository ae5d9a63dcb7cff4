from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden import speculate as module
from golden.config import Config, Tier
from golden.group import compact
from golden.oracle import concentration as exact_concentration
from golden.prepare import Prepared, prepare
from golden.speculate import CHOICE_STEPS, Estimate, speculate
from golden.tiles import TEXT, Tiles
from golden.traces import Head, load

MakeHead = Callable[..., Head]


def mean(x: np.ndarray, start: int, stop: int) -> list[float]:
    return [math.fsum(x[start:stop, c]) / (stop - start) for c in range(x.shape[1])]


def mass_by_hand(scores: list[float], sizes: list[int]) -> list[float]:
    top = max(scores)
    mass = [2 ** (s - top) * n if s > -math.inf else 0.0 for s, n in zip(scores, sizes, strict=True)]
    return [m / math.fsum(mass) for m in mass]


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def finite_rows(prepared: Prepared, rows: Tiles) -> np.ndarray:
    query = prepared.rows_of(rows).copy()
    query[~np.isfinite(query).all(axis=1)] = 0
    return query


def frames_by_hand(prepared: Prepared, rows: Tiles) -> tuple[list[list[float]], list[list[float]]]:
    """Scores of tile means, and the mass of every frame in rising order, text first."""
    columns, query = prepared.key_tiles, finite_rows(prepared, rows)
    frames = sorted(set(columns.frame.tolist()))
    keys = [mean(prepared.key, a, b) for a, b in pairwise(columns.start)]
    scores, masses = [], []
    for a, b in pairwise(rows.start):
        centre = mean(query, a, b)
        scores.append([dot(centre, key) for key in keys])
        mass = mass_by_hand(scores[-1], np.diff(columns.start).tolist())
        masses.append([math.fsum(m for m, f in zip(mass, columns.frame, strict=True) if f == g) for g in frames])
    return scores, masses


def kept_by_hand(config: Config, prepared: Prepared, rows: Tiles, masses: np.ndarray) -> list[list[bool]]:
    """Frames that are judged: text, the first, the own one, and the heaviest until they hold the wanted mass."""
    frames = sorted(set(prepared.key_tiles.frame.tolist()))
    first = next((f for f in frames if f != TEXT), TEXT)
    kept = []
    for tile, mass in enumerate(masses.tolist()):
        inside, held = {TEXT, first, int(rows.frame[tile])}, 0.0
        for n in sorted(range(len(frames)), key=lambda n, mass=mass: -mass[n]):
            if held < config.frame_mass:
                inside.add(frames[n])
            held += mass[n]
        kept.append([config.frame_mass == 1 or f in inside for f in frames])
    return kept


def concentration_by_hand(prepared: Prepared, rows: Tiles, kept: np.ndarray) -> list[list[float]]:
    """Mean p**2 of every piece by means of cells; a cell's mass is spread evenly over its keys."""
    columns, query = prepared.key_tiles, finite_rows(prepared, rows)
    frames = sorted(set(columns.frame.tolist()))
    cells = list(pairwise(columns.cell_start.tolist()))
    keys = [mean(prepared.key, a, b) for a, b in cells]
    frame_of = [frames.index(columns.frame[columns.piece_tile[piece]]) for piece in columns.cell_piece]
    pieces = np.diff(columns.piece_start).tolist()
    found = []
    for tile, (first, last) in enumerate(pairwise(rows.start)):
        squares = [0.0] * len(pieces)
        for a, b in pairwise(rows.cell_start.tolist()):
            if not first <= a < last:
                continue
            centre = mean(query, a, b)
            scores = [dot(centre, k) if kept[tile][f] else -math.inf for k, f in zip(keys, frame_of, strict=True)]
            mass = mass_by_hand(scores, [d - c for c, d in cells])
            for cell, (c, d) in enumerate(cells):
                p = mass[cell] / (d - c)
                squares[columns.cell_piece[cell]] += (b - a) * (d - c) * p * p
        found.append([s / (last - first) / n for s, n in zip(squares, pieces, strict=True)])
    return found


@given(st.data())
def test_every_intermediate_follows_its_definition(
    any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject
) -> None:
    config, head = data.draw(any_case)
    prepared = prepare(config, head)
    computed = np.random.default_rng(0).random(len(head.q)) < data.draw(st.sampled_from([0.5, 1.0]))
    computed[0] = True
    rows = compact(config, prepared.query_tiles, computed)
    got = speculate(config, prepared, rows)
    scores, masses = frames_by_hand(prepared, rows)
    size = np.abs(prepared.key).max() * np.abs(finite_rows(prepared, rows)).max() * config.head_dim
    near = {"rel": 1e-6, "abs": 1e-9 * (1 + size)}
    assert got.tile_score == pytest.approx(np.array(scores), **near)
    assert got.frame_mass == pytest.approx(np.array(masses), **near)
    # From here on with the masses found, as a rounding error may decide between frames of equal mass.
    assert got.frames_kept.tolist() == kept_by_hand(config, prepared, rows, got.frame_mass)
    assert got.concentration == pytest.approx(np.array(concentration_by_hand(prepared, rows, got.frames_kept)), **near)
    assert got.text.tolist() == [prepared.key_tiles.frame[tile] == TEXT for tile in prepared.key_tiles.piece_tile]
    sizes = [np.diff(start).tolist() for start in (rows.start, prepared.key_tiles.piece_start)]
    assert got.products.tolist() == [[n * m for m in sizes[1]] for n in sizes[0]]
    assert got.dense == len(head.q) ** 2
    assert np.isfinite(got.concentration).all()


@pytest.mark.parametrize("scale", [300.0, 3000.0])
def test_all_mass_means_all_frames(tiny: Config, make_head: MakeHead, scale: float) -> None:
    head = make_head((6, 4, 8))
    head = dataclasses.replace(head, q=head.q * np.float32(scale))
    kept = speculate(dataclasses.replace(tiny, frame_mass=1.0), prepare(tiny, head)).frames_kept
    assert kept.all()
    fewer = speculate(dataclasses.replace(tiny, frame_mass=0.9), prepare(tiny, head)).frames_kept
    assert not fewer.all()


def test_operations_are_counted_by_hand(make_head: MakeHead) -> None:
    config = Config(head_dim=16, query_rows=32, tile=16, lanes=16, piece=8, cell=4, frame_mass=1.0)
    prepared = prepare(config, make_head((2, 8, 8), 16))
    # Query: 5 tiles, of 16 tokens of text and twice 32 of two frames, and 36 cells; key: 9 tiles, 18 pieces, 36 cells.
    pooled = (144 + 144) * 16
    scores = 5 * 9 + 36 * 36
    assert speculate(config, prepared).operations == pooled + scores * (16 + 5) + 5 * 18 * CHOICE_STEPS
    one_frame = dataclasses.replace(config, frame_mass=1e-9)
    kept = speculate(one_frame, prepared).frames_kept
    # Text queries and those of frame 0 look into text and frame 0, others also into frame 1, or the heaviest too.
    cells = sum(n * (4 * k[0] + 16 * k[1] + 16 * k[2]) for n, k in zip([4, 8, 8, 8, 8], kept.tolist(), strict=True))
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
        assert np.allclose(speculate(tiny, prepared).concentration, whole.concentration, rtol=1e-12, atol=0)


def test_the_previous_step_counts_half(tiny: Config, make_head: MakeHead) -> None:
    prepared = prepare(tiny, make_head((2, 5, 6), 3))
    alone = speculate(tiny, prepared)
    previous = np.random.default_rng(0).random(alone.concentration.shape)
    got = speculate(tiny, prepared, previous=previous)
    assert np.allclose(got.concentration, (alone.concentration + previous) / 2)


def test_the_estimate_is_exact_with_cells_of_one_token(tiny: Config, make_head: MakeHead) -> None:
    config = dataclasses.replace(tiny, cell=1, frame_mass=1.0)
    prepared = prepare(config, make_head((2, 5, 6), 3))
    assert np.allclose(
        speculate(config, prepared).concentration, exact_concentration(prepared, prepared.query_tiles), rtol=1e-9
    )


@pytest.mark.parametrize("index", [0, 1])
def test_the_estimate_follows_the_attention_of_real_heads(sample_path: str, index: int) -> None:
    config = Config()
    prepared = prepare(config, load(sample_path)[index])
    got = speculate(config, prepared).concentration.ravel()
    exact = exact_concentration(prepared, prepared.query_tiles).ravel()
    count = len(exact) // 8
    chosen, best = (exact[np.argsort(-each, kind="stable")[:count]].sum() for each in (got, exact))
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
    assert got.concentration[query_tile].argmax() == key_piece
    assert got.concentration.max() == got.concentration[query_tile, key_piece]
    assert got.frame_mass[query_tile].argmax() == key_piece // 16
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
    assert (got.concentration.argmax(axis=1) == 9).all()


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
    assert (first.concentration == second.concentration).all()
    assert (first.frame_mass == second.frame_mass).all()
