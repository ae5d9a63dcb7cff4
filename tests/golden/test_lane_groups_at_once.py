"""`attention` takes many lane groups at once; here the core's own way, one after the other, pass by pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from golden import attention as module
from golden.accumulate import accumulate
from golden.align import align
from golden.attention import Operands, attention
from golden.config import Config, Tier
from golden.group import in_columns
from golden.multiplier import multiply
from golden.normalise import normalise
from golden.prepare import prepare
from golden.schedule import LaneGroup, Schedule, in_order, schedule
from golden.score import score
from golden.softmax import initial_max, softmax
from golden.traces import Head

MakeHead = Callable[..., Head]


class Rows:
    """What the core holds of the rows of a query tile while lane groups pass by."""

    def __init__(self, config: Config, query: NDArray[np.uint16]) -> None:
        self.config, self.query = config, align(config, query)
        count = len(query)
        self.maximum = np.full(count, initial_max(config))
        self.prob_total = np.zeros(count, np.int64)
        self.output_sum = np.zeros((count, config.head_dim), np.int64)
        self.rescales: list[NDArray[np.int64]] = []

    def meet(self, operands: Operands, group: LaneGroup, start: int) -> None:
        """One lane group of the key tile that begins at token `start`: a pass for every digit that its tier reads."""
        config, token = self.config, start + group.tokens
        passes = config.passes(group.tier)
        key_sum = np.zeros((len(self.maximum), config.lanes), np.int64)
        for digit, weight in list(enumerate(config.digit_weights(config.key_digit_step)))[:passes]:
            for row, mantissa in enumerate(self.query.mantissa):
                key_sum[row] += multiply(mantissa, operands.key_digits[digit][token]) * weight
        scores = score(config, key_sum, self.query.exponent, operands.key_mantissa[token], operands.key_exponent[token])
        scales = operands.value_mantissa[token], operands.value_shift[token]
        p = softmax(config, scores[:, None], group.active[None], self.maximum, scales[0][None], scales[1][None])
        self.maximum, rescale = p.running_max[:, 0], p.rescale[:, 0]
        self.rescales.append(rescale)
        self.prob_total = accumulate(self.prob_total, rescale, p.prob_sum[:, 0])
        added = np.zeros_like(self.output_sum)
        for digit, weight in list(enumerate(config.digit_weights(config.value_digit_step)))[:passes]:
            for row, operand in enumerate(p.weight[:, 0]):
                added[row] += multiply(operand, operands.value_digits[digit][token].T) * weight
        self.output_sum = accumulate(self.output_sum, rescale, added)


def one_after_another(config: Config, operands: Operands, plan: Schedule) -> tuple[NDArray[np.uint16], int]:
    """The output's FP16 bits [rows, head_dim], and how many lane groups raised a maximum."""
    output = np.empty(operands.query.shape, np.uint16)
    raised = 0
    for tile, blocks in enumerate(plan.blocks):
        span = slice(plan.query_start[tile], plan.query_start[tile + 1])
        rows = Rows(config, operands.query[span])
        for block in blocks:
            for group in block.groups:
                rows.meet(operands, group, int(plan.key_start[block.key_tile]))
        raised += sum(bool(rescale.any()) for rescale in rows.rescales)
        output[span] = normalise(config, rows.output_sum, rows.prob_total, operands.output_exponent, rows.query.invalid)
    return output, raised


@settings(max_examples=80)
@given(st.data(), st.sampled_from([1, 2, 3, 7, 256]), st.sampled_from([in_order, in_columns]))
def test_attention_equals_one_lane_group_after_another(
    any_case: st.SearchStrategy[tuple[Config, Head]], data: st.DataObject, chunk: int, pack: Callable
) -> None:
    config, head = data.draw(any_case)
    prepared = prepare(config, head)
    rows, columns = prepared.query_tiles, prepared.key_tiles
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    tokens = len(head.q)
    tiers = rng.integers(0, 3, (len(rows.frame), tokens)).astype(np.int8)
    hidden = rng.random(tokens) < data.draw(st.sampled_from([0.0, 0.2, 0.9, 1.0]))
    plan = schedule(config, rows.start, columns.start, tiers, hidden, pack=pack)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        got = attention(config, prepared.operands, plan)
    assert (got == one_after_another(config, prepared.operands, plan)[0]).all()


def rising(config: Config, head: Head, order: NDArray[np.int64]) -> tuple[Operands, Schedule]:
    """A query tile, and keys in an order; every key tile has all tiers."""
    operands = prepare(config, head).operands
    keys = {name: getattr(operands, name)[:, order] for name in ("key_digits", "value_digits")}
    for name in ("key_mantissa", "key_exponent", "value_mantissa", "value_shift"):
        keys[name] = getattr(operands, name)[order]
    tokens = len(order)
    tiers = np.random.default_rng(0).integers(0, 3, (1, tokens)).astype(np.int8)
    plan = schedule(config, [0, config.query_rows], np.arange(0, tokens + 1, config.tile), tiers)
    return dataclasses.replace(operands, query=operands.query[: config.query_rows], **keys), plan


@pytest.mark.parametrize("direction", [1, -1])
def test_maxima_that_rise_across_chunks(tiny: Config, make_head: MakeHead, direction: int) -> None:
    head = make_head((5, 16, 16), scale=3.0)
    head.q[:] = head.q[0] + np.float32(0.05) * head.q  # so that one order of keys is that of nearly all rows
    prepared = prepare(tiny, head)
    order = np.argsort(direction * (prepared.key @ prepared.query.mean(axis=0)), kind="stable")
    operands, plan = rising(tiny, head, order)
    groups = int(plan.counts[0].sum())
    assert groups > module.CHUNK + 32
    wanted, raised = one_after_another(tiny, operands, plan)
    assert (raised > 20) == (direction == 1)
    assert (attention(tiny, operands, plan) == wanted).all()


def test_tiers_of_a_group_read_their_own_digits(tiny: Config, make_head: MakeHead) -> None:
    # A digit that a tier does not read has no influence, one that it reads has.
    operands = prepare(tiny, make_head()).operands
    for tier in Tier:
        plan = schedule(tiny, np.arange(0, 65, 8), np.arange(0, 65, 16), np.full((8, 4), tier, np.int8))
        output = attention(tiny, operands, plan)
        for digit in range(3):
            for name in ("key_digits", "value_digits"):
                changed = getattr(operands, name).copy()
                changed[digit] = -changed[digit] % 8
                other = attention(tiny, dataclasses.replace(operands, **{name: changed}), plan)
                assert (other == output).all() == (digit >= tiny.passes(tier)), (tier, digit, name)
