"""The attention core, bit for bit: query tiles stay, key/value tiles stream by, tiers mix under one running maximum."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from golden.accumulate import accumulate
from golden.align import align
from golden.config import Config, Tier
from golden.digits import seen
from golden.multiplier import multiply_rows
from golden.normalise import normalise
from golden.schedule import Schedule
from golden.score import score
from golden.softmax import initial_max, softmax

CHUNK = 256
"""Lane groups of a query tile at a time, which bounds the memory."""


@dataclasses.dataclass(frozen=True)
class Operands:
    """What the core is fed: tokens in tile order."""

    query: NDArray[np.uint16]
    """[rows, head_dim], bits of float_format"""
    key_digits: NDArray[np.int8]
    """[digits, tokens, head_dim], most significant first"""
    key_mantissa: NDArray[np.int64]
    key_exponent: NDArray[np.int64]
    """[tokens], key scale = key_mantissa * 2**key_exponent, log2(e) / sqrt(head_dim) included"""
    value_digits: NDArray[np.int8]
    """[digits, tokens, head_dim]"""
    value_mantissa: NDArray[np.int64]
    value_shift: NDArray[np.int64]
    """[tokens], value scale = value_mantissa * 2**(output_exponent - scale_bits - value_shift)"""
    output_exponent: int


def attention(
    config: Config, operands: Operands, schedule: Schedule, progress: Callable[[int], None] = lambda rows: None
) -> NDArray[np.uint16]:
    """FP16 bits [rows, head_dim] of the scheduled attention, exactly as the hardware computes them.

    `progress` is called with the number of rows that each query tile finished. Operands that do not match the
    schedule or the configuration raise ValueError.
    """
    _check(config, operands, schedule)
    keys = seen(config, operands.key_digits, config.key_digit_step)
    values = seen(config, operands.value_digits, config.value_digit_step)
    output = np.empty(operands.query.shape, np.uint16)
    for query_tile in range(len(schedule.blocks)):
        rows = slice(schedule.query_start[query_tile], schedule.query_start[query_tile + 1])
        output[rows] = _attend(config, operands, rows, _gather(config, schedule, query_tile), keys, values)
        progress(rows.stop - rows.start)
    return output


@dataclasses.dataclass(frozen=True)
class _Groups:
    """The lane groups that a query tile meets, in order."""

    tier: NDArray[np.int8]
    """[groups]"""
    token: NDArray[np.int64]
    """[groups, lanes]"""
    active: NDArray[np.bool_]
    """[groups, lanes]"""

    def chunks(self) -> Iterator[_Groups]:
        for start in range(0, len(self.tier), CHUNK):
            part = slice(start, start + CHUNK)
            yield _Groups(self.tier[part], self.token[part], self.active[part])


def _gather(config: Config, schedule: Schedule, query_tile: int) -> _Groups:
    placed = [(schedule.key_start[b.key_tile], group) for b in schedule.blocks[query_tile] for group in b.groups]
    return _Groups(
        tier=np.array([group.tier for _, group in placed], np.int8),
        token=np.array([start + group.tokens for start, group in placed]).reshape(-1, config.lanes),
        active=np.array([group.active for _, group in placed]).reshape(-1, config.lanes),
    )


def _attend(
    config: Config,
    operands: Operands,
    rows: slice,
    groups: _Groups,
    keys: dict[Tier, NDArray[np.float64]],
    values: dict[Tier, NDArray[np.float64]],
) -> NDArray[np.uint16]:
    query = align(config, operands.query[rows])
    count = len(query.exponent)
    running_max = np.full(count, initial_max(config))
    prob_total = np.zeros(count, np.int64)
    output_sum = np.zeros((count, config.head_dim), np.int64)
    for part in groups.chunks():
        token = part.token.reshape(-1)
        tier = np.repeat(part.tier, config.lanes)
        key_sum = multiply_rows(query.mantissa, _at_tiers(keys, tier, token))
        scores = score(config, key_sum, query.exponent, operands.key_mantissa[token], operands.key_exponent[token])
        p = softmax(
            config,
            scores.reshape(count, *part.token.shape),
            part.active,
            running_max,
            operands.value_mantissa[part.token],
            operands.value_shift[part.token],
        )
        running_max = p.running_max[:, -1]
        value = _at_tiers(values, tier, token)
        # Between groups that raise a maximum nothing is shifted, and sums of integers have no order.
        raised = np.flatnonzero(p.rescale.any(axis=0))
        for start, stop in pairwise(sorted({0, *raised.tolist(), len(part.tier)})):
            prob_total = accumulate(prob_total, p.rescale[:, start], p.prob_sum[:, start:stop].sum(axis=1))
            lanes = slice(start * config.lanes, stop * config.lanes)
            value_sum = multiply_rows(p.weight[:, start:stop].reshape(count, -1), value[lanes].T)
            output_sum = accumulate(output_sum, p.rescale[:, start], value_sum)
    return normalise(config, output_sum, prob_total, operands.output_exponent, query.invalid)


def _at_tiers(
    codes: dict[Tier, NDArray[np.float64]], tier: NDArray[np.int8], token: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The codes [n, head_dim] of tokens [n] as their tiers [n] read them."""
    read = np.empty((len(token), next(iter(codes.values())).shape[1]))
    for each in Tier:
        chosen = tier == each
        read[chosen] = codes[each][token[chosen]]
    return read


def _check(config: Config, operands: Operands, schedule: Schedule) -> None:
    rows, tokens = int(schedule.query_start[-1]), int(schedule.key_start[-1])
    wanted: dict[str, tuple[int, ...]] = {"query": (rows, config.head_dim)}
    wanted |= dict.fromkeys(("key_digits", "value_digits"), (config.digits, tokens, config.head_dim))
    wanted |= dict.fromkeys(("key_mantissa", "key_exponent", "value_mantissa", "value_shift"), (tokens,))
    for name, shape in wanted.items():
        if getattr(operands, name).shape != shape:
            raise ValueError(f"operands.{name} has the shape {getattr(operands, name).shape}: must be {shape}")
    if tokens > config.max_tokens:
        raise ValueError(f"operands have {tokens} tokens: config.max_tokens = {config.max_tokens}")
