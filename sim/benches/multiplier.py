"""What the benches of both multipliers share: dot products and tags, compared with golden.multiplier."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import cocotb
import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from golden.config import DIGIT_BITS, DIGIT_MIN, Config, Tier
from golden.digits import seen
from golden.latencies import multiplier_latency
from golden.multiplier import multiply, multiply_rows
from rtl import layouts
from sim import job
from sim.benches.stimuli import KINDS, digit_numbers, fields, numbers
from sim.core_words import stored
from sim.pack import Fields, pack
from sim.streams import assert_full_rate, assert_latency, check_streams

TABLES = 160
RADIX = 1 << DIGIT_BITS


@dataclasses.dataclass(frozen=True)
class Multiplier:
    """Either multiplier, by the layouts of its operand and its product."""

    config: Config
    operand: data.StructLayout
    product: data.StructLayout
    operands: int
    readers: int
    most: int
    """largest magnitude of an operand"""
    step: int
    """bits by which a digit weighs more than the next"""

    @property
    def codes(self) -> data.StructLayout:
        """What a pass reads; `last` is its table's last use."""
        codes = data.ArrayLayout(DIGIT_BITS * self.config.word_digits, self.operands)
        marks = {"whole": layouts.whole(self.config), "last": 1, "tag": self.product["tag"].shape}
        return data.StructLayout({"digits": data.ArrayLayout(codes, self.readers), **marks})

    def code_word(self, digits: NDArray[np.int8], last: bool, tag: Fields, whole: bool = False) -> int:
        """A word of the codes, digits [config.word_digits, readers, operands]; unless `whole`, the first is meant."""
        return pack(self.codes, {"digits": stored(digits).tolist(), "whole": whole, "last": last, "tag": tag})

    def dots(self, operand: NDArray[np.int64], digits: NDArray[np.int8], whole: bool) -> list[int]:
        """What golden computes of these digits."""
        if not whole:
            return multiply(operand, digits[0]).tolist()
        return multiply_rows(operand[None], seen(self.config, digits, self.step)[Tier.FULL])[0].tolist()

    async def check(
        self, dut: Any, operand: list[int], codes: list[int], product: list[int], stalls: float = 0.0
    ) -> list[int]:
        """Compare all products. Without stalls there is one every cycle, whatever tables they are of.

        Returns the cycles in which codes entered.
        """
        inputs = {"operand": operand, "codes": codes}
        cycles = await check_streams(dut, inputs, {"product": (self.product, product)}, stalls)
        if not stalls:
            assert_latency(cycles["codes"], cycles["product"], multiplier_latency(self.config, self.operands))
            assert_full_rate(cycles["codes"])
        return cycles["codes"]


async def check_random(dut: Any, multiplier: Multiplier, stalls: float) -> None:
    """Random and extreme operands and digits; the first half of the tables is used once each, the others for longer.

    The job may ask for more, by the input `least_products`.
    """
    _, inputs = job.read()
    least = inputs.get("least_products", 0) / (multiplier.readers * multiplier.operands)
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    operand, codes, product = [], [], []
    for n in itertools.count():
        if n >= TABLES and len(codes) >= least:
            break
        mantissa = numbers(rng, -multiplier.most, multiplier.most, (multiplier.operands,), n % KINDS)
        operand_tag = fields(rng, multiplier.operand["tag"].shape)
        operand.append(pack(multiplier.operand, {"mantissa": mantissa.tolist(), "tag": operand_tag}))
        uses = 1 if n < TABLES // 2 else int(rng.integers(1, 9))
        for use in range(uses):
            shape = (multiplier.config.word_digits, multiplier.readers, multiplier.operands)
            digits = digit_numbers(rng, shape, (n // KINDS + use) % KINDS)
            whole = len(digits) > 1 and bool(rng.integers(0, 2))
            tag = fields(rng, multiplier.product["tag"].shape)
            codes.append(multiplier.code_word(digits, use == uses - 1, tag, whole))
            dot = multiplier.dots(mantissa, digits, whole)
            product.append(pack(multiplier.product, {"dot": dot, "operand_tag": operand_tag, "tag": tag}))
    passes = await multiplier.check(dut, operand, codes, product, stalls)
    if not stalls:
        job.report(
            products=len(passes) * multiplier.readers * multiplier.operands,
            table_switches=len(operand) - 1,
            dot_products_per_reader_cycle=len(passes) / (passes[-1] + 1 - passes[0]),
        )


async def check_every_product(dut: Any, multiplier: Multiplier, mantissas: NDArray[np.int64]) -> None:
    """Every mantissa times every digit, each in a dot product whose other digits are zero, so that nothing hides it.

    And where passes read whole codes, the largest mantissas times every code.
    """
    operands, most = multiplier.operands, multiplier.most
    tables = np.resize(mantissas, (-(-len(mantissas) // operands), operands))
    alone = each_alone(multiplier, 1)
    codes = [multiplier.code_word(digits, n == len(alone) - 1, {}) for n, digits in enumerate(alone)] * len(tables)
    dots = multiply(tables[:, None], alone[None, :, 0]).reshape(-1, multiplier.readers).tolist()
    if multiplier.config.word_digits > 1:
        largest = np.resize([most, -most], operands)
        alone = each_alone(multiplier, multiplier.config.digits)
        tables = np.concatenate([tables, largest[None]])
        codes += [multiplier.code_word(digits, n == len(alone) - 1, {}, True) for n, digits in enumerate(alone)]
        dots += [multiplier.dots(largest, digits, True) for digits in alone]
    await multiplier.check(
        dut,
        operand=[pack(multiplier.operand, {"mantissa": table}) for table in tables.tolist()],
        codes=codes,
        product=[pack(multiplier.product, {"dot": dot}) for dot in dots],
    )


def each_alone(multiplier: Multiplier, count: int) -> NDArray[np.int8]:
    """All codes of `count` digits, one in a dot product: [words, config.word_digits, readers, operands]."""
    operands, readers = multiplier.operands, multiplier.readers
    code = np.resize(np.arange(RADIX**count), (-(-(RADIX**count) // readers), readers))
    alone = np.zeros((operands, len(code), multiplier.config.word_digits, readers, operands), np.int8)
    for n, digit in itertools.product(range(operands), range(count)):
        alone[n, :, digit, :, n] = (code >> DIGIT_BITS * digit) % RADIX + DIGIT_MIN
    return alone.reshape(-1, *alone.shape[2:])
