"""LUT RAM as the table, for comparison: every reader holds all multiples of every operand in memories of its own.

A LUT RAM has a single read port, so that a table cannot be shared, as those of rtl.tables are; in exchange the memory
is the multiplexer. It holds two tables: one is filled, a multiple a cycle, while the other is read.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Shape, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.config import DIGIT_BITS, DIGIT_MIN
from rtl.adders import Term, carry_sum


def multiple(operand_bits: int) -> Shape:
    """Shape of a multiple of an operand."""
    return signed(operand_bits + DIGIT_BITS - 1)


class RamReader(wiring.Component):
    """Codes of `digits` digits in, their dot product with the table that `half` names out, a cycle later.

    `write` stores one multiple of each operand in the other table, at `digit`.
    """

    def __init__(self, operands: int, operand_bits: int, dot_bits: int, digits: int = 1) -> None:
        self.operands, self.operand_bits, self.dot_bits, self.digits = operands, operand_bits, dot_bits, digits
        super().__init__(
            {
                "half": In(1),
                "write": In(1),
                "digit": In(DIGIT_BITS),
                "multiples": In(data.ArrayLayout(multiple(operand_bits), operands)),
                "codes": In(data.ArrayLayout(DIGIT_BITS * digits, operands)),
                "dot": Out(signed(dot_bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        terms = []
        for n in range(self.operands):
            for k in range(self.digits):
                memory = Memory(shape=multiple(self.operand_bits), depth=2 << DIGIT_BITS, init=[])
                m.submodules[f"memory_{n}_{k}"] = memory
                write, read = memory.write_port(), memory.read_port(domain="comb")
                m.d.comb += [
                    write.en.eq(self.write),
                    write.addr.eq(Cat(self.digit, ~self.half)),
                    write.data.eq(self.multiples[n]),
                    read.addr.eq(Cat(self.codes[n][DIGIT_BITS * k :][:DIGIT_BITS], self.half)),
                ]
                terms.append(Term(read.data, DIGIT_BITS * k))
        m.d.sync += self.dot.eq(carry_sum(m, "sum", terms, 0, self.dot_bits))
        return m


class Multiples(wiring.Component):
    """Fills the tables of RamReader: all multiples of each operand, from the least on, one a cycle from `take` on."""

    def __init__(self, operands: int, operand_bits: int) -> None:
        self.count = operands
        super().__init__(
            {
                "take": In(1),
                "operands": In(data.ArrayLayout(signed(operand_bits), operands)),
                "digit": Out(DIGIT_BITS),
                "multiples": Out(data.ArrayLayout(multiple(operand_bits), operands)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        held = Signal.like(self.operands, name="held")
        with m.If(self.take):
            m.d.sync += [held.eq(self.operands), self.digit.eq(DIGIT_MIN)]
        with m.Else():
            m.d.sync += self.digit.eq(self.digit + 1)
        for n in range(self.count):
            with m.If(self.take):
                m.d.sync += self.multiples[n].eq(self.operands[n] * DIGIT_MIN)
            with m.Else():
                m.d.sync += self.multiples[n].eq(self.multiples[n] + held[n])
        return m
