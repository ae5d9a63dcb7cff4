"""Reading of tables: a digit for each operand selects products, and an adder tree sums them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.config import signed_bits
from rtl.adders import ADDERS, Term, complemented
from rtl.library import Named
from rtl.table_styles import TableStyle, shifted
from rtl.tables import bias_port, entries_layout, fields


class Product(wiring.Component):
    """Reads one table: one digit for each operand in, the values of the terms of their dot product out. Combinational.

    `terms` are these outputs with their weights, to which `offset` is to be added.
    """

    def __init__(self, style: TableStyle, operand_bits: int, inverted: bool) -> None:
        self.style, self.inverted = style, inverted
        entries, digits = entries_layout(style, operand_bits), data.ArrayLayout(style.digit_bits, style.span)
        terms, self.offset = self.read(Signal(entries), Signal(digits))
        values = data.StructLayout({f"value_{n}": term.value.shape() for n, term in enumerate(terms)})
        super().__init__({"entries": In(entries), "digits": In(digits), "values": Out(values)})
        self.terms = [
            dataclasses.replace(term, value=value) for term, value in zip(terms, fields(self.values), strict=True)
        ]

    def read(self, entries: data.View, digits: data.View) -> tuple[list[Term], int]:
        """Terms and offset."""
        terms = self.style.read(fields(entries), [digits[n] for n in range(self.style.span)])
        return complemented(terms) if self.inverted else (terms, 0)

    def elaborate(self, platform) -> Module:
        m = Module()
        terms, _ = self.read(self.entries, self.digits)
        m.d.comb += [value.eq(term.value) for value, term in zip(fields(self.values), terms, strict=True)]
        return m


class Reader(wiring.Component):
    """One reader: a code of `digits` digits for every operand in, their dot product out. A pass reads a single digit.

    Latency `stages(style, operands, fanin)` cycles of `enable`; one dot product per cycle.
    """

    @staticmethod
    def stages(style: TableStyle, operands: int, fanin: int) -> int:
        """Registers of an adder tree that sums `fanin` operands, but whole tables, between two of them."""
        left, count = -(-operands // style.span), 1
        left = -(-left // max(1, fanin // style.span))
        while left > 1:
            left, count = -(-left // fanin), count + 1
        return count

    def __init__(
        self,
        style: TableStyle,
        operands: int,
        operand_bits: int,
        dot_bits: int,
        fanin: int,
        adder: str,
        digits: int = 1,
    ) -> None:
        self.style, self.operands, self.fanin, self.adder, self.digits = style, operands, fanin, adder, digits
        self.operand_bits, self.dot_bits, self.count = operand_bits, dot_bits, -(-operands // style.span)
        super().__init__(
            {
                "enable": In(1),
                "entries": In(data.ArrayLayout(entries_layout(style, operand_bits), self.count)),
                "codes": In(data.ArrayLayout(style.digit_bits * digits, operands)),
                "dot": Out(signed(dot_bits)),
                **bias_port(style, operands, operand_bits, In),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        span = self.style.span
        inverted = self.style.inverting and self.adder == "save"
        given = list(self.codes)
        parts: list[tuple[list[Term], int]] = []
        for n in range(self.count):
            terms: list[Term] = []
            offset = 0
            for low in range(0, self.style.digit_bits * self.digits, self.style.digit_bits):
                product = Product(self.style, self.operand_bits, inverted)
                m.submodules[f"product_{n}_{low}"] = Named(product, f"product_{self.operand_bits}")
                m.d.comb += [
                    product.entries.eq(self.entries[n]),
                    *(
                        product.digits[k].eq(code[low : low + self.style.digit_bits])
                        for k, code in enumerate(given[n * span :][:span])
                    ),
                ]
                terms += shifted(product.terms, low)
                offset += product.offset << low
                if self.style.bias and n == 0:
                    terms.append(Term(self.bias, low))
            parts.append((terms, offset))
        step, level = max(1, self.fanin // span), 0
        while True:
            registers = [
                self.register(m, f"sum_{level}_{n // step}", parts[n : n + step]) for n in range(0, len(parts), step)
            ]
            if len(registers) == 1:
                m.d.comb += self.dot.eq(registers[0][int(self.style.halved) :])
                return m
            parts, step, level = [([Term(r)], 0) for r in registers], self.fanin, level + 1

    def register(self, m: Module, name: str, parts: Sequence[tuple[list[Term], int]]) -> Signal:
        """A register with the sum of some parts; no wider than the dot product, modulo which all sums may wrap."""
        terms = [term for part, _ in parts for term in part]
        offset = sum(part_offset for _, part_offset in parts)
        bound = abs(offset) + sum(1 << (len(term.value) + term.shift) for term in terms)
        bits = min(self.dot_bits + self.style.halved, signed_bits(bound))
        total = ADDERS[self.adder](m, f"{name}_row", terms, offset, bits)
        register = Signal(signed(len(total)), name=name, reset_less=True)
        with m.If(self.enable):
            m.d.sync += register.eq(total)
        return register
