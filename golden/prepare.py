"""Preparation: a head's floating-point tensors become the operands of the core, and its output a head's again.

Means are subtracted ("smooth matrix K" of SageAttention, ICLR 2025: softmax does not notice a shift of all keys; the
value mean is added back), Q, K and V are rotated by a Hadamard transform (golden.rotate), and keys and values are
quantised with one scale a token (golden.quantise). All in integers, bit for bit: a first pass over keys and values
finds their statistics (golden.statistics), a second one, row by row, the operands.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from golden.align import align_to
from golden.attention import Operands
from golden.config import Config, Tier
from golden.digits import seen
from golden.formats import FORMATS, FP16
from golden.quantise import FACTOR_BITS, ONE, feedback, nearest, scaled, scales, shaped
from golden.restore import restore_rows
from golden.rotate import rotate, rotate_centred
from golden.statistics import Statistics, statistics
from golden.tiles import Tiles, make_tiles
from golden.traces import Head

CHANNEL_STEP = 8
"""Head dimensions of models are multiples of this; any other tells of a tensor that was cut or transposed."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A head as the core sees it, and what takes its output back. Places are tokens in tile order."""

    config: Config
    head_dim: int
    query_tiles: Tiles
    key_tiles: Tiles
    key_statistics: Statistics
    value_statistics: Statistics
    key_vector: NDArray[np.int64]
    """[tokens, config.head_dim], centred and rotated keys"""
    value_vector: NDArray[np.int64]
    """[tokens, config.head_dim], centred and rotated values"""
    factor: tuple[int, int]
    """The softmax scale in base 2: see `softmax_factor`"""
    operands: Operands

    @property
    def query(self) -> NDArray[np.float64]:
        """[rows, config.head_dim], rotated queries as the core is fed them."""
        return FORMATS[self.config.float_format].decode(self.operands.query)

    @property
    def key(self) -> NDArray[np.float64]:
        """[tokens, config.head_dim], centred, rotated and scaled: query . key is the base-2 score."""
        power = unit_power(self.config, self.key_statistics.exponent) + self.factor[1] - (FACTOR_BITS - 1)
        return np.ldexp(self.key_vector * float(self.factor[0]), power)

    @property
    def value(self) -> NDArray[np.float64]:
        """[tokens, config.head_dim], centred and rotated."""
        return np.ldexp(self.value_vector.astype(np.float64), unit_power(self.config, self.value_statistics.exponent))

    def places(self, rows: Tiles) -> NDArray[np.int64]:
        """[rows], the places in query_tiles of the tokens that `rows` orders."""
        place = np.empty(len(self.query_tiles.order), np.int64)
        place[self.query_tiles.order] = np.arange(len(place))
        return place[rows.order]

    def rows_of(self, rows: Tiles) -> NDArray[np.float64]:
        """[rows, config.head_dim], the queries that `rows` orders."""
        return self.query[self.places(rows)]

    def finite_rows_of(self, rows: Tiles) -> NDArray[np.float64]:
        """`rows_of`, with zeros for rows that are not finite."""
        query = self.rows_of(rows)
        return np.where(np.isfinite(query).all(axis=1, keepdims=True), query, 0)


def prepare(config: Config, head: Head) -> Prepared:
    """The operands of a head, whose head_dim may be less than config.head_dim: channels of zeros are added.

    A query row with an infinity or a NaN stays one, and its output is NaN. A key or value that is not finite, a
    tensor beyond config.float_format, a value beyond FP16, and more tokens or channels than configured raise
    ValueError.
    """
    tokens, head_dim = head.q.shape
    if head_dim > config.head_dim or head_dim % CHANNEL_STEP:
        raise ValueError(
            f"{head.name}: head_dim = {head_dim}: must be a multiple of {CHANNEL_STEP}, at most"
            f" config.head_dim = {config.head_dim}"
        )
    if tokens > config.max_tokens:
        raise ValueError(f"{head.name}: {tokens} tokens: must be at most config.max_tokens = {config.max_tokens}")
    for name in ("k", "v"):
        if not np.isfinite(getattr(head, name)).all():
            raise ValueError(f"{head.name}: {name} holds an infinity or a NaN: must be finite")
    query_tiles = make_tiles(config, head.grid, head.text_tokens, config.query_rows)
    key_tiles = make_tiles(config, head.grid, head.text_tokens, config.tile)
    q, k, v = (words(config, head, name) for name in ("q", "k", "v"))

    query = prepare_query(config, q[query_tiles.order])
    finite = np.isfinite(FORMATS[config.float_format].decode(query)).all(axis=1)
    if (np.isfinite(head.q[query_tiles.order]).all(axis=1) & ~finite).any():
        largest = np.abs(head.q[np.isfinite(head.q)]).max()
        raise ValueError(f"{head.name}: q reaches {largest:.3g}: after rotation beyond {config.float_format}")
    key_statistics, key_vector = centred(config, k[key_tiles.order])
    value_statistics, value_vector = centred(config, v[key_tiles.order])
    rotated = np.ldexp(float(np.abs(value_vector).max()), unit_power(config, value_statistics.exponent))
    largest = max(float(np.abs(head.v).max()), rotated)
    if not np.isfinite(FP16.decode(FP16.encode(np.array(largest)))):
        raise ValueError(
            f"{head.name}: v reaches {largest:.3g} before or after rotation: beyond fp16, the output format"
        )

    factor = softmax_factor(config, head_dim)
    # What a vector's scale is to be multiplied by, so that query . key is the base-2 score.
    power = unit_power(config, key_statistics.exponent) + factor[1]
    least = -(1 << (config.key_exponent_bits - 1)) - power
    step = config.key_digit_step
    key_mantissa, key_exponent = scales(config, np.abs(key_vector).max(axis=1), factor[0], step, least)
    units = scaled(config, key_vector, factor[0], key_mantissa, key_exponent)
    if config.shape_keys:
        key_digits = shaped(config, units, feedback(config, FORMATS[config.float_format].decode(query)), step)
    else:
        key_digits = nearest(config, units, step)
    # The largest value there can be decides the output exponent: smaller scales are shifted right.
    step = config.value_digit_step
    most = np.array([min((value_statistics.reach >> config.rotation_shift) + 1, config.rotated_max)])
    power_of_values = unit_power(config, value_statistics.exponent) + config.scale_bits
    least = -(1 << (config.output_exponent_bits - 1)) - power_of_values
    top = int(scales(config, most, ONE, step, least)[1][0])
    least = top - (1 << config.value_exponent_bits) + 1
    value_mantissa, value_exponent = scales(config, np.abs(value_vector).max(axis=1), ONE, step, least)
    operands = Operands(
        query=query,
        key_digits=key_digits,
        key_mantissa=key_mantissa,
        key_exponent=key_exponent + power,
        value_digits=nearest(config, scaled(config, value_vector, ONE, value_mantissa, value_exponent), step),
        value_mantissa=value_mantissa,
        value_shift=top - value_exponent,
        output_exponent=top + power_of_values,
    )
    return Prepared(
        config,
        head_dim,
        query_tiles,
        key_tiles,
        key_statistics,
        value_statistics,
        key_vector,
        value_vector,
        factor,
        operands,
    )


def words(config: Config, head: Head, name: str) -> NDArray[np.uint16]:
    """The tensor `name` of a head as words of config.float_format, [tokens, config.head_dim]: what hardware is fed.

    A finite number beyond the format raises ValueError.
    """
    tensor, form = getattr(head, name), FORMATS[config.float_format]
    found = form.encode(tensor)
    if (np.isfinite(tensor) & ~np.isfinite(form.decode(found))).any():
        largest = np.abs(tensor[np.isfinite(tensor)]).max()
        raise ValueError(f"{head.name}: {name} reaches {largest:.3g}: beyond {form.name}")
    return np.pad(found, ((0, 0), (0, config.head_dim - tensor.shape[1])))


def unit_power(config: Config, exponent: int) -> int:
    """The power of two that an integer counts which was aligned to input_bits at a biased exponent."""
    return exponent - FORMATS[config.float_format].bias - (config.input_bits - 2)


def softmax_factor(config: Config, head_dim: int) -> tuple[int, int]:
    """Mantissa and exponent of what turns q . k into a base-2 score: mantissa / ONE * 2**exponent.

    log2(e) / sqrt(head_dim), and what is left of the lengths of vectors that were rotated.
    """
    rest = 2.0 ** (2 * config.rotation_shift - config.rotation_stages)
    fraction, exponent = math.frexp(math.log2(math.e) / math.sqrt(head_dim) * rest)
    return round(fraction * 2 * ONE), exponent - 1


def prepare_query(config: Config, rows: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Query rows [rows, head_dim], words of config.float_format, rotated; a row that is not finite gives NaNs."""
    form = FORMATS[config.float_format]
    aligned = align_to(form, rows, config.input_bits)
    power = aligned.exponent - form.bias - (config.input_bits - 2) - config.rotation_shift
    found = form.encode(np.ldexp(rotate(config, aligned.mantissa).astype(np.float64), power[:, None]))
    return np.where(aligned.invalid[:, None], form.nan, found).astype(np.uint16)


def centred(config: Config, rows: NDArray[np.uint16]) -> tuple[Statistics, NDArray[np.int64]]:
    """The statistics of keys or values [tokens, head_dim], and these, centred and rotated."""
    found = statistics(config, rows)
    aligned = align_to(FORMATS[config.float_format], rows, config.input_bits, np.full(len(rows), found.exponent))
    return found, rotate_centred(config, aligned.mantissa - found.mean)


def restore(prepared: Prepared, output: NDArray[np.uint16]) -> NDArray[np.float64]:
    """The core's output, FP16 bits [rows, config.head_dim], as the head's: [tokens, head_dim] in original order."""
    words = restore_rows(prepared.config, output, prepared.value_statistics)
    restored = np.empty((len(output), prepared.head_dim))
    restored[prepared.query_tiles.order] = FP16.decode(words)[:, : prepared.head_dim]
    return restored


def restore_values(prepared: Prepared, output: NDArray[np.float64]) -> NDArray[np.float64]:
    """`restore` of an output given as values [rows, config.head_dim], in float64."""
    config = prepared.config
    block = 1 << config.rotation_stages
    matrix = rotate(config, np.eye(config.head_dim, dtype=np.int64)) * (2.0**config.rotation_shift / block)
    power = unit_power(config, prepared.value_statistics.exponent)
    mean = np.ldexp(prepared.value_statistics.mean.astype(np.float64), power)
    restored = np.empty((len(output), prepared.head_dim))
    restored[prepared.query_tiles.order] = (output @ matrix + mean)[:, : prepared.head_dim]
    return restored


def dequantise(
    config: Config, operands: Operands, tier: Tier = Tier.FULL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keys and values [tokens, config.head_dim] as a tier reads them; query . key is the base-2 score."""
    key_scale = np.ldexp(operands.key_mantissa.astype(np.float64), operands.key_exponent)
    value_exponent = operands.output_exponent - config.scale_bits - operands.value_shift
    value_scale = np.ldexp(operands.value_mantissa.astype(np.float64), value_exponent)
    keys = seen(config, operands.key_digits, config.key_digit_step)[tier]
    values = seen(config, operands.value_digits, config.value_digit_step)[tier]
    return keys * key_scale[:, None], values * value_scale[:, None]


def operations(config: Config, tokens: int, head_dim: int) -> int:
    """What `prepare` computes, as golden.speculate counts: means, rotations, scales, codes, and shaping if it is on."""
    size = config.head_dim
    each = 4 * head_dim  # two means, found and subtracted
    if config.rotate:
        each += 3 * size * config.rotation_stages
    each += 2 * size + 2 * size * config.digits  # the largest magnitudes, and digits
    if config.shape_keys:
        each += size * (size + 1) // 2 * (1 + config.digits)  # moments of queries, and feedback for every digit
    return tokens * each
