"""What the benches of both multipliers share: dot products and tags, compared with golden.multiplier."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import cocotb
import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from golden.config import DIGIT_BITS, DIGIT_MIN, Config
from golden.multiplier import multiply
from rtl.reader import Reader
from rtl.table_styles import STYLES
from sim import job
from sim.benches.stimuli import KINDS, digit_numbers, fields, numbers
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

    @property
    def codes(self) -> data.StructLayout:
        """The digits of a pass; `last` is its table's last use."""
        digits = data.ArrayLayout(data.ArrayLayout(DIGIT_BITS, self.operands), self.readers)
        return data.StructLayout({"digits": digits, "last": 1, "tag": self.product["tag"].shape})

    def code_word(self, digits: NDArray[np.int8], last: bool, tag: Fields) -> int:
        """A word of the codes, digits [readers, operands]."""
        return pack(self.codes, {"digits": (digits & RADIX - 1).tolist(), "last": last, "tag": tag})

    async def check(
        self, dut: Any, operand: list[int], codes: list[int], product: list[int], stalls: float = 0.0
    ) -> list[int]:
        """Compare all products. Without stalls there is one every cycle, whatever tables they are of.

        Returns the cycles in which codes entered.
        """
        inputs = {"operand": operand, "codes": codes}
        cycles = await check_streams(dut, inputs, {"product": (self.product, product)}, stalls)
        if not stalls:
            latency = Reader.stages(STYLES[self.config.table], self.operands, self.config.tree_fanin)
            assert_latency(cycles["codes"], cycles["product"], latency)
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
            digits = digit_numbers(rng, (multiplier.readers, multiplier.operands), (n // KINDS + use) % KINDS)
            tag = fields(rng, multiplier.product["tag"].shape)
            codes.append(multiplier.code_word(digits, use == uses - 1, tag))
            dot = multiply(mantissa, digits).tolist()
            product.append(pack(multiplier.product, {"dot": dot, "operand_tag": operand_tag, "tag": tag}))
    passes = await multiplier.check(dut, operand, codes, product, stalls)
    if not stalls:
        job.report(
            products=len(passes) * multiplier.readers * multiplier.operands,
            table_switches=len(operand) - 1,
            dot_products_per_reader_cycle=len(passes) / (passes[-1] + 1 - passes[0]),
        )


async def check_every_product(dut: Any, multiplier: Multiplier, mantissas: NDArray[np.int64]) -> None:
    """Every mantissa times every digit, each in a dot product whose other digits are zero, so that nothing hides it."""
    operands, readers = multiplier.operands, multiplier.readers
    tables = np.resize(mantissas, (-(-len(mantissas) // operands), operands))
    steps = -(-RADIX // readers)
    alone = np.zeros((operands, steps, readers, operands), np.int8)
    digit = (np.arange(steps * readers) % RADIX + DIGIT_MIN).reshape(steps, readers)
    for n in range(operands):
        alone[n, ..., n] = digit
    alone = alone.reshape(-1, readers, operands)
    codes = [multiplier.code_word(digits, n == len(alone) - 1, {}) for n, digits in enumerate(alone)]
    dots = multiply(tables[:, None], alone[None]).reshape(-1, readers)
    await multiplier.check(
        dut,
        operand=[pack(multiplier.operand, {"mantissa": table}) for table in tables.tolist()],
        codes=codes * len(tables),
        product=[pack(multiplier.product, {"dot": dot}) for dot in dots.tolist()],
    )
