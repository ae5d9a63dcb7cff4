"""Claims about the buffered LUT multiplier: see rtl.multiplier."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cover, Module, Signal, Value, signed
from amaranth.lib import data

from golden.config import DIGIT_BITS, DIGIT_MAX, DIGIT_MIN, Config, signed_bits
from rtl.multiplier import Multiplier, Product, fields
from rtl.table_styles import STYLES
from sim.properties.harness import Harness


def multiple(m: Module, operand: Value, digit: Value) -> Signal:
    """operand * digit, as a product with a constant for each digit: far easier on a solver than a multiplier."""
    result = Signal(signed(len(operand) + DIGIT_BITS))
    with m.Switch(digit.as_signed()):
        for value in range(DIGIT_MIN, DIGIT_MAX + 1):
            with m.Case(value):
                m.d.comb += result.eq(operand * value)
    return result


class EveryProduct(Harness):
    """A reader's addends sum up to the products, for every operand and every digit."""

    def __init__(self, style: str, bits: int) -> None:
        self.style, self.bits = STYLES[style], bits
        self.operands = [Signal(signed(self.bits), name=f"operand_{n}") for n in range(self.style.span)]
        super().__init__(Product(self.style, self.bits))

    @property
    def inputs(self) -> list[Signal]:
        return [*super().inputs, *self.operands]

    def properties(self, m: Module) -> None:
        product = self.component
        for entry, contents in zip(fields(product.entries), self.style.fill(self.operands), strict=True):
            filled = Signal.like(entry)
            m.d.comb += [filled.eq(contents), Assume(entry == filled)]
        multiples = [multiple(m, *pair) for pair in zip(self.operands, product.digits, strict=True)]
        total = sum(fields(product.addends), Value.cast(self.style.offset))
        least = -(1 << (self.bits - 1))
        # No operand is the least two's complement number: alignment and softmax see to that.
        m.d.comb += [Assume(operand != least) for operand in self.operands]
        m.d.comb += [
            Assert(total == sum(multiples, Value.cast(0))),
            Cover(multiples[0] == (least + 1) * DIGIT_MIN),
        ]


class TableSwitch(Harness):
    """Every pass is multiplied with the operand whose turn it is, whenever tables are switched.

    A model keeps the accepted operands; every word of codes carries, as its tag, the dot product that the model
    computes by multiplication, and so does the product that it becomes.
    """

    OPERANDS, BITS = 2, 3

    def __init__(self, config: Config) -> None:
        self.dot = signed(signed_bits((1 << (self.BITS - 1)) * -DIGIT_MIN * self.OPERANDS))
        super().__init__(
            Multiplier(
                config,
                operands=self.OPERANDS,
                readers=1,
                operand_bits=self.BITS,
                dot_bits=self.dot.width,
                operand_tag=1,
                tag=self.dot,
            )
        )

    def properties(self, m: Module) -> None:
        super().properties(m)
        operand, codes, product = self.component.operand, self.component.codes, self.component.product
        layout = data.ArrayLayout(signed(self.BITS), self.OPERANDS)
        queue = [Signal(layout, name=f"queue_{n}") for n in range(2)]
        held = Signal(range(3))
        accepted = operand.valid & operand.ready
        left = codes.valid & codes.ready & codes.payload.last
        m.d.sync += held.eq(held + accepted - left)
        with m.If(left):
            m.d.sync += queue[0].eq(queue[1])
        with m.If(accepted):
            for place, slot in enumerate(queue):
                with m.If(held - left == place):
                    m.d.sync += slot.eq(operand.payload.mantissa)
        digits = codes.payload.digits[0]
        dot = sum((multiple(m, queue[0][n], digits[n]) for n in range(self.OPERANDS)), Value.cast(0))
        m.d.comb += [
            *(Assume(operand.payload.mantissa[n] != -(1 << (self.BITS - 1))) for n in range(self.OPERANDS)),
            Assume(~codes.valid | (codes.payload.tag == dot)),
            Assert(~(codes.valid & codes.ready) | (held != 0)),
            Assert(~product.valid | (product.payload.dot[0] == product.payload.tag)),
            Cover(product.valid & (product.payload.dot[0] < -32) & left & accepted),
        ]
