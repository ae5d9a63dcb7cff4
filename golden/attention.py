"""The attention core, bit for bit: query tiles stay, key/value tiles stream by, tiers mix under one running maximum."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from golden.accumulate import accumulate
from golden.align import align
from golden.config import DIGIT_BITS, Config, Tier
from golden.digits import digits
from golden.multiplier import multiply_rows
from golden.normalise import normalise
from golden.schedule import Block, Schedule
from golden.score import score
from golden.softmax import initial_max, softmax


@dataclasses.dataclass(frozen=True)
class Operands:
    """What the core is fed: tokens in tile order."""

    query: NDArray[np.uint16]
    """[rows, head_dim], bits of float_format"""
    key_codes: NDArray[np.int16]
    """[tokens, head_dim]"""
    key_mantissa: NDArray[np.int64]
    key_exponent: NDArray[np.int64]
    """[tokens], key scale = key_mantissa * 2**key_exponent, log2(e) / sqrt(head_dim) included"""
    value_codes: NDArray[np.int16]
    """[tokens, head_dim]"""
    value_mantissa: NDArray[np.int64]
    value_shift: NDArray[np.int64]
    """[tokens], value scale = value_mantissa * 2**(output_exponent - scale_bits - value_shift)"""
    output_exponent: int


def codes_seen(config: Config, codes: NDArray[np.int16]) -> dict[Tier, NDArray[np.float64]]:
    """The codes [tokens, head_dim] as every tier reads them: its first digits, the others as zero."""
    parts = digits(config, codes).astype(np.float64)
    weights = [float(1 << (DIGIT_BITS * (config.digits - 1 - i))) for i in range(config.digits)]
    partial = np.cumsum([part * weight for part, weight in zip(parts, weights, strict=True)], axis=0)
    return {tier: partial[config.passes(tier) - 1] for tier in Tier}


def attention(
    config: Config, operands: Operands, schedule: Schedule, progress: Callable[[int], None] = lambda rows: None
) -> NDArray[np.uint16]:
    """FP16 bits [rows, head_dim] of the scheduled attention, exactly as the hardware computes them.

    `progress` is called with the number of rows that each query tile finished. Operands that do not match the
    schedule or the configuration raise ValueError.
    """
    _check(config, operands, schedule)
    keys, values = codes_seen(config, operands.key_codes), codes_seen(config, operands.value_codes)
    output = np.empty(operands.query.shape, np.uint16)
    for query_tile, blocks in enumerate(schedule.blocks):
        rows = slice(schedule.query_start[query_tile], schedule.query_start[query_tile + 1])
        output[rows] = _attend(config, operands, rows, blocks, schedule.key_start, keys, values)
        progress(rows.stop - rows.start)
    return output


def _attend(
    config: Config,
    operands: Operands,
    rows: slice,
    blocks: tuple[Block, ...],
    key_start: NDArray[np.int64],
    keys: dict[Tier, NDArray[np.float64]],
    values: dict[Tier, NDArray[np.float64]],
) -> NDArray[np.uint16]:
    query = align(config, operands.query[rows])
    count = len(query.exponent)
    running_max = np.full(count, initial_max(config))
    prob_total = np.zeros(count, np.int64)
    output_sum = np.zeros((count, config.head_dim), np.int64)
    for block in blocks:
        for group in block.groups:
            token = key_start[block.key_tile] + group.tokens
            key_sum = multiply_rows(query.mantissa, keys[group.tier][token])
            scores = score(config, key_sum, query.exponent, operands.key_mantissa[token], operands.key_exponent[token])
            p = softmax(
                config, scores, group.active, running_max, operands.value_mantissa[token], operands.value_shift[token]
            )
            running_max = p.running_max
            prob_total = accumulate(prob_total, p.rescale, p.prob_sum)
            value_sum = multiply_rows(p.weight, values[group.tier][token].T)
            output_sum = accumulate(output_sum, p.rescale, value_sum)
    return normalise(config, output_sum, prob_total, operands.output_exponent, query.invalid)


def _check(config: Config, operands: Operands, schedule: Schedule) -> None:
    rows, tokens = int(schedule.query_start[-1]), int(schedule.key_start[-1])
    wanted = {"query": (rows, config.head_dim)}
    wanted |= dict.fromkeys(("key_codes", "value_codes"), (tokens, config.head_dim))
    wanted |= dict.fromkeys(("key_mantissa", "key_exponent", "value_mantissa", "value_shift"), (tokens,))
    for name, shape in wanted.items():
        if getattr(operands, name).shape != shape:
            raise ValueError(f"operands.{name} has the shape {getattr(operands, name).shape}: must be {shape}")
    if tokens > config.max_tokens:
        raise ValueError(f"operands have {tokens} tokens: config.max_tokens = {config.max_tokens}")
