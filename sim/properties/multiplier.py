"""Claims about the buffered LUT multiplier: see rtl.multiplier."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from amaranth.hdl import Assert, Assume, C, Cat, Cover, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from golden.config import DIGIT_BITS, DIGIT_MAX, DIGIT_MIN, Config, signed_bits
from rtl.adders import Term
from rtl.multiplier import Multiplier
from rtl.reader import Product
from rtl.table_styles import STYLES
from rtl.tables import fields
from sim.properties.harness import Harness


def multiple(m: Module, operand: Value, digit: Value) -> Signal:
    """operand * digit, as a product with a constant for each digit: far easier on a solver than a multiplier."""
    result = Signal(signed(len(operand) + DIGIT_BITS))
    with m.Switch(digit.as_signed()):
        for value in range(DIGIT_MIN, DIGIT_MAX + 1):
            with m.Case(value):
                m.d.comb += result.eq(operand * value)
    return result


class Read(Harness):
    """One reader of one table, filled with operands that can be anything but the least two's complement number."""

    def __init__(self, style: str, bits: int, inverted: bool) -> None:
        self.style, self.bits = STYLES[style], bits
        self.operands = [Signal(signed(bits), name=f"operand_{n}") for n in range(self.style.span)]
        super().__init__(Product(self.style, bits, inverted))

    @property
    def inputs(self) -> list[Signal]:
        return [*super().inputs, *self.operands]

    def properties(self, m: Module) -> None:
        product = self.component
        for entry, contents in zip(fields(product.entries), self.style.fill(self.operands), strict=True):
            filled = Signal.like(entry)
            m.d.comb += [filled.eq(contents), Assume(entry == filled)]
        # Alignment and softmax see to that.
        m.d.comb += [Assume(operand != self.least) for operand in self.operands]

    @property
    def least(self) -> int:
        """The least two's complement number."""
        return -(1 << (self.bits - 1))


class EveryProduct(Read):
    """A reader's terms sum up to the products, for every operand and every digit."""

    def properties(self, m: Module) -> None:
        super().properties(m)
        product, style = self.component, self.style
        multiples = [multiple(m, *pair) for pair in zip(self.operands, product.digits, strict=True)]
        total = weighted(product.terms) + product.offset + style.bias * sum(self.operands, Value.cast(0))
        m.d.comb += [
            Assert(total == sum(multiples, Value.cast(0)) << int(style.halved)),
            Cover(multiples[0] == (self.least + 1) * DIGIT_MIN),
        ]


class EveryPlane(Read):
    """The terms of each bit plane sum up to that plane's share of the products.

    Where a table joins operands, solvers do not get through `EveryProduct` at full width. A digit is the sum of its
    bits by their weights, so that the claims on the planes together are the claim on the products.
    """

    def properties(self, m: Module) -> None:
        super().properties(m)
        product = self.component
        offsets = 0
        for plane in range(DIGIT_BITS):
            terms = [dataclasses.replace(term, shift=0) for term in product.terms if term.shift == plane]
            offset = sum(1 if not term.negative else -1 for term in terms) if product.inverted else 0
            offsets += offset << plane
            share = self.share(m, Cat(digit[plane] for digit in product.digits))
            m.d.comb += Assert(weighted(terms) + offset == (-share if plane == DIGIT_BITS - 1 else share))
        m.d.comb += Assert(C(offsets == product.offset))
        m.d.comb += Cover(Value.cast(product.digits).all() & (self.operands[0] == self.least + 1))

    def share(self, m: Module, bits: Value) -> Signal:
        """What the operands come to whose bits are 1, less the others where the style works with factors of 1 and -1.

        A sum for each case, as solvers find those easier than a sum of choices.
        """
        share = Signal(signed(self.bits + len(bits)))
        with m.Switch(bits):
            for case in range(1 << len(bits)):
                factors = [1 if case >> n & 1 else -1 if self.style.halved else 0 for n in range(len(bits))]
                sign = factors[0] or 1  # as the entries have it: the first operand counts positively
                total = Value.cast(0)
                for operand, factor in zip(self.operands, factors, strict=True):
                    total = total + operand * (factor * sign)
                with m.Case(case):
                    m.d.comb += share.eq(total * sign)
        return share


def weighted(terms: Sequence[Term]) -> Value:
    """The sum of the terms."""
    total = Value.cast(0)
    for term in terms:
        total = total - (term.value << term.shift) if term.negative else total + (term.value << term.shift)
    return total


class TableSwitch(Harness):
    """Every pass is multiplied with the operand whose turn it is, whenever tables are switched.

    A model keeps the operands that were accepted last; none are accepted before the table of these was left. Every word
    of codes carries, as its tag, the dot product that the model computes by multiplication, and so does the product
    that it becomes.
    """

    OPERANDS = 2

    def __init__(self, config: Config, bits: int = 3) -> None:
        self.config, self.bits = config, bits
        weights = config.digit_weights(config.key_digit_step)[-config.word_digits :]
        self.dot = signed(signed_bits((1 << (bits - 1)) * -DIGIT_MIN * sum(weights) * self.OPERANDS))
        super().__init__(
            Multiplier(
                config,
                operands=self.OPERANDS,
                readers=1,
                operand_bits=bits,
                dot_bits=self.dot.width,
                step=config.key_digit_step,
                operand_tag=1,
                tag=self.dot,
            )
        )

    def properties(self, m: Module) -> None:
        super().properties(m)
        operand, codes, product = self.component.operand, self.component.codes, self.component.product
        layout = data.ArrayLayout(signed(self.bits), self.OPERANDS)
        multiplicand = Signal(layout)
        held = Signal()
        accepted = operand.valid & operand.ready
        left = codes.valid & codes.ready & codes.payload.last
        with m.If(accepted):
            m.d.sync += [held.eq(1), multiplicand.eq(operand.payload.mantissa)]
        with m.Elif(left):
            m.d.sync += held.eq(0)
        dot = self.expected(m, multiplicand, codes.payload)
        m.d.comb += [
            *(Assume(operand.payload.mantissa[n] != -(1 << (self.bits - 1))) for n in range(self.OPERANDS)),
            Assume(~codes.valid | (codes.payload.tag == dot)),
            Assert(~(codes.valid & codes.ready) | held),
            Assert(~accepted | ~held | left),
            Assert(~product.valid | (product.payload.dot[0] == product.payload.tag)),
            Cover(product.valid & (product.payload.dot[0] < -32) & left & accepted),
        ]

    def expected(self, m: Module, multiplicand: data.View, codes: data.View) -> Value:
        """The dot product of what a pass reads: the digits at the top of the codes, or whole codes."""
        places = range(self.config.word_digits)
        parts = [
            [multiple(m, multiplicand[n], codes.digits[0][n].word_select(place, DIGIT_BITS)) for place in places]
            for n in range(self.OPERANDS)
        ]
        dot = sum((part[-1] for part in parts), Value.cast(0))
        if len(places) == 1:
            return dot
        step = self.config.key_digit_step
        whole = sum((part[place] << step * place for part in parts for place in places), Value.cast(0))
        return Mux(codes.whole, whole, dot)
