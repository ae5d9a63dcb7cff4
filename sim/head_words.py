"""The words of all streams of the complete core for the heads of a layer: what it is fed, and what golden expects."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from golden.attention import attention
from golden.config import Config
from golden.counters import Counters, expected
from golden.formats import FORMATS, FP16
from golden.group import in_columns
from golden.layer import Plan, plan
from golden.pool import Pooled, pool
from golden.prepare import words
from golden.registers import registers
from golden.restore import restore_rows
from golden.schedule import schedule
from golden.tiles import Tiles, owner
from rtl import layouts
from rtl.head import head, job, measured, pooled, prepared
from rtl.places import placed
from rtl.tier_buffer import judged
from sim.core_words import output_words, query_words, stored
from sim.pack import pack, unpack
from sim.reuse_words import ReuseWords, reuse_words
from sim.workload import framed_head, moving_head, random_head


@dataclasses.dataclass(frozen=True)
class HeadWords:
    """Packed words of one head: `key` and `value` come twice, `pooled` and `token` once for every query tile."""

    head: int
    key: list[int]
    value: list[int]
    query: list[int]
    token: list[int]
    """What a core is fed of `prepared`"""
    row_start: list[int]
    """First row of every query tile, and the end of the last one"""
    # What golden expects.
    measured: int
    rotated: list[int]
    """Query rows with their places"""
    rows: list[int]
    judged: list[int]
    prepared: list[int]
    tiles: list[int]
    cells: list[int]
    output: list[int]
    """The elements of the rows"""
    reuse: ReuseWords
    """Only where rows are reused"""
    counts: Counters
    """What a core's counters show, if it computes all"""

    @property
    def query_tiles(self) -> int:
        """How often the keys are needed."""
        return len(self.row_start) - 1


def head_words(config: Config, made: Plan, output: NDArray[np.uint16]) -> HeadWords:
    """All words of a planned head; `output` is that of golden.attention."""
    columns, rows, operands = made.prepared.key_tiles, made.rows, made.operands
    tokens = _tokens(config, made)
    cells, tiles = _key_pools(config, made)
    given = dataclasses.asdict(registers(config, made))
    shape = {name: given.pop(name) for name in ("text_tokens", "frame_tokens")}
    keys, values = made.prepared.key_statistics, made.prepared.value_statistics
    known = {
        "key_exponent": keys.exponent,
        "value_exponent": values.exponent,
        "value_mean": values.mean.tolist(),
        "output_exponent": operands.output_exponent,
    }
    executed = schedule(config, rows.start, columns.start, made.tiers, None, columns.piece_start, in_columns)
    return HeadWords(
        head=pack(head(config), given | {"tokens": shape}),
        key=_rows(config, words(config, made.head, "k")[columns.order]),
        value=_rows(config, words(config, made.head, "v")[columns.order]),
        query=_rows(config, words(config, made.head, "q")[made.prepared.query_tiles.order]),
        token=[pack(layouts.token(config), token) for token in tokens],
        row_start=rows.start.tolist(),
        measured=pack(measured(config), known),
        rotated=_placed(config, operands.query, rows),
        rows=query_words(config, operands, rows.start),
        judged=[
            pack(judged(config), {"tier": tier, "tokens": len(tokens), "last": n == made.tiers.shape[1] - 1})
            for each in made.tiers.tolist()
            for n, tier in enumerate(each)
        ],
        prepared=[
            *_prepared(config, tokens, "key", "key_exponent"),
            *_prepared(config, tokens, "value", "value_shift"),
        ],
        tiles=tiles,
        cells=cells,
        output=output_words(restore_rows(config, output, values)),
        reuse=reuse_words(config, made.head, made.matching),
        counts=expected(config, executed),
    )


def _key_pools(config: Config, made: Plan) -> tuple[list[int], list[int]]:
    """Pooled keys of cells and of tiles."""
    columns, vectors = made.prepared.key_tiles, made.prepared.key_vector
    zeros = np.zeros(len(vectors), np.int64)
    tiles, cells = (pool(config, vectors, zeros, start) for start in (columns.start, columns.cell_start))
    frame_end = np.append(np.diff(columns.frame) != 0, True)
    cell_tile = owner(columns.cell_start, columns.start)
    tile_end = np.append(np.diff(cell_tile) != 0, True)
    piece_end = np.append(np.diff(owner(columns.cell_start, columns.piece_start)) != 0, True)
    ends = tile_end & frame_end[cell_tile]
    return (
        _pooled(config, cells, columns.frame[cell_tile], piece_end, ends),
        _pooled(config, tiles, columns.frame, frame_end, frame_end),
    )


def golden_output(config: Config, made: Plan) -> NDArray[np.uint16]:
    """The output of the attention core, FP16 bits [rows, head_dim], that golden computes."""
    return attention(config, made.operands, made.grouping.schedule)


def _rows(config: Config, elements: NDArray[np.uint16]) -> list[int]:
    bits = FP16.bits
    assert FORMATS[config.float_format].bits == bits
    last = 1 << (bits * config.head_dim)
    found = [int.from_bytes(np.ascontiguousarray(each, dtype="<u2").tobytes(), "little") for each in elements]
    return [*found[:-1], found[-1] | last]


def _placed(config: Config, elements: NDArray[np.uint16], rows: Tiles) -> list[int]:
    """Query rows with their places, as far as queries need them."""
    cell_ends, tile_ends = set(rows.cell_start.tolist()), set(rows.start.tolist())
    tile = owner(np.arange(len(elements) + 1), rows.start)
    return [
        pack(
            placed(config),
            {
                "elements": row,
                "place": {
                    "cell_end": n + 1 in cell_ends,
                    "tile_end": n + 1 in tile_ends,
                    "frame": int(rows.frame[tile[n]]) + 1,
                    "last": n + 1 == len(elements),
                },
            },
        )
        for n, row in enumerate(elements.tolist())
    ]


def _tokens(config: Config, made: Plan) -> list[dict]:
    operands = made.operands
    keys, values = (stored(each).tolist() for each in (operands.key_digits, operands.value_digits))
    names = ("key_mantissa", "key_exponent", "value_mantissa", "value_shift")
    scales = zip(*(getattr(operands, name).tolist() for name in names), strict=True)
    ends = set((made.prepared.key_tiles.start[1:] - 1).tolist())
    return [
        {"key": key, "value": value, "scales": dict(zip(names, scale, strict=True)), "last": n in ends}
        for n, (key, value, scale) in enumerate(zip(keys, values, scales, strict=True))
    ]


def _prepared(config: Config, tokens: list[dict], kind: str, exponent: str) -> list[int]:
    """Keys or values of a head."""
    value = kind == "value"
    return [
        pack(
            prepared(config),
            {
                "codes": token[kind],
                "mantissa": token["scales"][f"{kind}_mantissa"],
                "exponent": token["scales"][exponent],
                "value": value,
                "last": token["last"],
                "head_last": value and n == len(tokens) - 1,
            },
        )
        for n, token in enumerate(tokens)
    ]


def _pooled(
    config: Config,
    means: Pooled,
    frame: NDArray[np.int64],
    part_end: Iterable[np.bool_],
    frame_end: Iterable[np.bool_],
) -> list[int]:
    fields = zip(means.mantissa.tolist(), means.exponent, means.size, frame + 1, part_end, frame_end, strict=True)
    names = ("mantissa", "exponent", "size", "frame", "part_end", "frame_end")
    return [
        pack(pooled(config), dict(zip(names, each, strict=True)) | {"last": n == len(means.size) - 1})
        for n, each in enumerate(fields)
    ]


def small_plans(config: Config, seed: int) -> list[Plan]:
    """Random heads of unlike shapes: text, frames that do not divide into tiles or are skipped, a single token."""
    shapes: list[tuple[tuple[int, int, int], int]] = [((3, 5, 7), 11), ((1, 1, 1), 0), ((2, 4, 6), 0), ((0, 0, 0), 9)]
    heads = [random_head(config, *each, seed=seed + n, scale=1.0 + n) for n, each in enumerate(shapes)]
    heads.append(framed_head(config, (5, 4, 4), 3, seed, 2.0))
    heads.append(moving_head(config, (4, 3, 8), 5, 0.5, seed))
    return plan(config, heads)


def planned_words(config: Config, plans: Iterable[Plan]) -> list[HeadWords]:
    """The words of planned heads, with the output that golden computes."""
    return [head_words(config, made, golden_output(config, made)) for made in plans]


def small_heads(config: Config, seed: int) -> list[HeadWords]:
    """The words of `small_plans`."""
    return planned_words(config, small_plans(config, seed))


def job_words(config: Config, heads: Sequence[HeadWords]) -> list[int]:
    """The jobs of all query tiles of heads, one after the other."""
    return [
        pack(
            job(config),
            {
                "head": unpack(head(config), each.head),
                "measured": unpack(measured(config), each.measured),
                "number": number % (1 << config.head_number_bits),
                "first": first,
            },
        )
        for number, each in enumerate(heads)
        for first in each.row_start[:-1]
    ]
