"""Preparation: a head's floating-point tensors become the operands of the core, and its output a head's again.

Means are subtracted ("smooth matrix K" of SageAttention, ICLR 2025: softmax does not notice a shift of all keys; the
value mean is added back), Q, K and V are rotated by a Hadamard transform, which spreads outliers ("incoherence
processing" of QuaRot, NeurIPS 2024), and keys and values are quantised with one scale a token (golden.quantise).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from golden.attention import Operands
from golden.config import Config, Tier
from golden.digits import seen
from golden.formats import FORMATS, FP16
from golden.quantise import feedback, nearest, scaled, scales, shaped
from golden.tiles import Tiles, make_tiles
from golden.traces import Head

CHANNEL_STEP = 8
"""Head dimensions of models are multiples of this; any other tells of a tensor that was cut or transposed."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A head as the core sees it, and what takes its output back. Places are tokens in tile order."""

    query_tiles: Tiles
    key_tiles: Tiles
    query: NDArray[np.float64]
    """[rows, config.head_dim], rotated, before the rounding to float_format"""
    key: NDArray[np.float64]
    """[tokens, config.head_dim], centred, rotated and scaled: query . key is the base-2 score"""
    value: NDArray[np.float64]
    """[tokens, config.head_dim], centred and rotated"""
    value_mean: NDArray[np.float64]
    """[head_dim]"""
    rotation: NDArray[np.float64]
    """[config.head_dim, config.head_dim], orthonormal and symmetric"""
    operands: Operands

    def places(self, rows: Tiles) -> NDArray[np.int64]:
        """[rows], the places in query_tiles of the tokens that `rows` orders."""
        place = np.empty(len(self.query), np.int64)
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
    query beyond config.float_format, a value beyond FP16, and more tokens or channels than configured raise ValueError.
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
    rotation = hadamard(config.head_dim) if config.rotate else np.eye(config.head_dim)
    q, k, v = (x.astype(np.float64) for x in (head.q, head.k, head.v))
    value_mean = v.mean(axis=0)

    def rotated(x: NDArray[np.float64], tiles: Tiles) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return np.pad(x[tiles.order], ((0, 0), (0, config.head_dim - head_dim))) @ rotation

    query = rotated(q, query_tiles)
    key = rotated(k - k.mean(axis=0), key_tiles) * (np.log2(np.e) / np.sqrt(head_dim))
    value = rotated(v - value_mean, key_tiles)
    form = FORMATS[config.float_format]
    query_bits = form.encode(query)
    if (np.isfinite(query).all(axis=1) & ~np.isfinite(form.decode(query_bits)).all(axis=1)).any():
        raise ValueError(f"{head.name}: q reaches {np.nanmax(np.abs(query)):.3g} after rotation: beyond {form.name}")
    if not np.isfinite(FP16.decode(FP16.encode(value))).all():
        raise ValueError(
            f"{head.name}: v reaches {np.abs(value).max():.3g} after rotation: beyond fp16, the output format"
        )

    step = config.key_digit_step
    key_mantissa, key_exponent = scales(config, key, step, -(1 << (config.key_exponent_bits - 1)))
    key_digits = shaped(config, scaled(key, key_mantissa, key_exponent), feedback(config, query), step)
    # The largest value scale decides the output exponent; smaller ones are shifted right, as far as the field goes.
    step = config.value_digit_step
    _, exponent = scales(config, value, step, -(1 << (config.output_exponent_bits - 1)) - config.scale_bits)
    output_exponent = int(exponent.max()) + config.scale_bits
    least = int(exponent.max()) - (1 << config.value_exponent_bits) + 1
    value_mantissa, value_exponent = scales(config, value, step, least)
    operands = Operands(
        query=query_bits,
        key_digits=key_digits,
        key_mantissa=key_mantissa,
        key_exponent=key_exponent,
        value_digits=nearest(config, scaled(value, value_mantissa, value_exponent), step),
        value_mantissa=value_mantissa,
        value_shift=output_exponent - config.scale_bits - value_exponent,
        output_exponent=output_exponent,
    )
    return Prepared(query_tiles, key_tiles, query, key, value, value_mean, rotation, operands)


def restore(prepared: Prepared, output: NDArray[np.uint16]) -> NDArray[np.float64]:
    """The core's output, FP16 bits [rows, config.head_dim], as the head's: [tokens, head_dim] in original order."""
    return restore_values(prepared, FP16.decode(output))


def restore_values(prepared: Prepared, output: NDArray[np.float64]) -> NDArray[np.float64]:
    """`restore` of an output given as values [rows, config.head_dim]."""
    restored = np.empty((len(output), len(prepared.value_mean)))
    restored[prepared.query_tiles.order] = (output @ prepared.rotation)[
        :, : len(prepared.value_mean)
    ] + prepared.value_mean
    return restored


def hadamard(size: int) -> NDArray[np.float64]:
    """Orthonormal, symmetric rotation [size, size]: a Sylvester-Hadamard matrix where `size` is a power of two.

    For other sizes it is block-diagonal, of blocks as large as the largest power of two that divides `size`.
    """
    block = size & -size
    matrix = np.ones((1, 1))
    while len(matrix) < block:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return np.kron(np.eye(size // block), matrix / np.sqrt(block))


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
        each += 3 * size * (size & -size).bit_length()
    each += 2 * size + 2 * size * config.digits  # the largest magnitudes, and digits
    if config.shape_keys:
        each += size * (size + 1) // 2 * (1 + config.digits)  # moments of queries, and feedback for every digit
    return tokens * each
