"""The buffered tables of an operand vector: filled at once, while the next operands already wait in front of them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.config import signed_bits
from rtl.library import Named
from rtl.table_styles import TableStyle
from rtl.trees import balanced_sum


def entries_layout(style: TableStyle, bits: int) -> data.StructLayout:
    """The entries of one table, for operands of `bits` bits."""
    return data.StructLayout({f"entry_{n}": shape for n, shape in enumerate(style.entry_shapes(bits))})


def bias_port(style: TableStyle, operands: int, operand_bits: int, direction: Any) -> dict[str, Any]:
    """The port `bias`, if the style has one."""
    bound = (abs(style.bias) * operands) << (operand_bits - 1)
    return {"bias": direction(signed(signed_bits(bound)))} if style.bias else {}


def fields(view) -> list[Value]:
    """The fields of a structure, in order."""
    return [view[name] for name, _ in view.shape()]


class Table(wiring.Component):
    """One table: `load` fills it from the operands. `total`, which styles with a bias have, is the sum of these."""

    def __init__(self, style: TableStyle, operand_bits: int) -> None:
        self.style, self.operand_bits = style, operand_bits
        super().__init__(
            {
                "load": In(1),
                "operands": In(data.ArrayLayout(signed(operand_bits), style.span)),
                "entries": Out(entries_layout(style, operand_bits)),
                **({"total": Out(signed(operand_bits + (style.span - 1).bit_length()))} if style.bias else {}),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        operands = list(self.operands)
        held = Signal.like(self.entries, name="held", reset_less=True)
        with m.If(self.load):
            m.d.sync += [
                entry.eq(multiple) for entry, multiple in zip(fields(held), self.style.fill(operands), strict=True)
            ]
        m.d.comb += self.entries.eq(held)
        if self.style.bias:
            m.d.comb += self.total.eq(balanced_sum(operands))
        return m


class Tables(wiring.Component):
    """The tables of an operand vector, and what the style adds to every dot product: see TableStyle.bias.

    An operand that a table lacks, as the style joins more than are left, is 0.
    """

    def __init__(self, style: TableStyle, operands: int, operand_bits: int) -> None:
        self.style, self.operand_bits, self.count = style, operand_bits, -(-operands // style.span)
        super().__init__(
            {
                "load": In(1),
                "operands": In(data.ArrayLayout(signed(operand_bits), operands)),
                "entries": Out(data.ArrayLayout(entries_layout(style, operand_bits), self.count)),
                **bias_port(style, operands, operand_bits, Out),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        tables = [Table(self.style, self.operand_bits) for _ in range(self.count)]
        given = list(self.operands)
        for n, table in enumerate(tables):
            m.submodules[f"table_{n}"] = Named(table, f"table_{self.operand_bits}")
            m.d.comb += [
                table.load.eq(self.load),
                *(table.operands[k].eq(part) for k, part in enumerate(given[n * self.style.span :][: self.style.span])),
                Value.cast(self.entries[n]).eq(table.entries),
            ]
        if self.style.bias:
            held = Signal.like(self.bias, name="held", reset_less=True)
            with m.If(self.load):
                m.d.sync += held.eq(balanced_sum([table.total for table in tables]) * self.style.bias)
            m.d.comb += self.bias.eq(held)
        return m
