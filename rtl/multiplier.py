"""The buffered LUT multiplier: tables of one operand vector, read by many vectors of 4-bit digits.

 operand                    digits of reader 0 .. readers-1
    | fill: a few adders         |
[ table ] --- entries --> (select)-(add)-[ ]-(add)-[ ] --> dot products
"""

from __future__ import annotations

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import DIGIT_BITS, Config
from rtl import layouts
from rtl.library import Named
from rtl.reader import Reader
from rtl.streams import delay, flow
from rtl.table_styles import STYLES
from rtl.tables import Tables


class Multiplier(wiring.Component):
    """Dot products of a long-lived operand vector with `readers` digit vectors per cycle.

    Streams
    -------
    operand : signed mantissas [operands] and a tag. Waits while the current table is read: the register that it comes
        from is the other half of the double buffer.
    codes : digits [readers][operands], `last` (the table's last use) and a tag.
    product : dot [readers], both tags. Latency `latency` cycles.

    One beat of codes per cycle; switching tables costs no cycle, provided the next operand came a cycle before its
    first codes. Exact: golden.multiplier.multiply.
    """

    def __init__(
        self,
        config: Config,
        *,
        operands: int,
        readers: int,
        operand_bits: int,
        dot_bits: int,
        operand_tag: ShapeLike,
        tag: ShapeLike,
    ) -> None:
        self.config, self.operands, self.readers = config, operands, readers
        self.operand_bits, self.dot_bits = operand_bits, dot_bits
        self.style = STYLES[config.table]
        self.operand_tag = operand_tag
        digits = data.ArrayLayout(data.ArrayLayout(DIGIT_BITS, operands), readers)
        codes = data.StructLayout({"digits": digits, "last": 1, "tag": tag})
        super().__init__(
            {
                "operand": In(stream.Signature(layouts.operand(operand_bits, operands, operand_tag))),
                "codes": In(stream.Signature(codes)),
                "product": Out(stream.Signature(layouts.product(dot_bits, readers, operand_tag, tag))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from codes to product."""
        return Reader.stages(self.style, self.operands, self.config.tree_fanin)

    def elaborate(self, platform) -> Module:
        m = Module()
        table_valid = Signal()
        table_tag = Signal(self.operand_tag, reset_less=True)

        codes_taken, free, load = Signal(), Signal(), Signal()
        advance = flow(m, codes_taken, self.product, self.latency)
        m.d.comb += [
            self.codes.ready.eq(advance & table_valid),
            codes_taken.eq(self.codes.valid & self.codes.ready),
            free.eq(~table_valid | (codes_taken & self.codes.payload.last)),
            load.eq(self.operand.valid & free),
            self.operand.ready.eq(free),
        ]
        with m.If(free):
            m.d.sync += table_valid.eq(self.operand.valid)
        with m.If(load):
            m.d.sync += table_tag.eq(self.operand.payload.tag)

        tables = Tables(self.style, self.operands, self.operand_bits)
        m.submodules.tables = Named(tables, f"tables_{self.operands}x{self.operand_bits}")
        m.d.comb += [
            tables.load.eq(load),
            tables.operands.eq(self.operand.payload.mantissa),
        ]
        for n in range(self.readers):
            reader = Reader(
                self.style,
                self.operands,
                self.operand_bits,
                self.dot_bits,
                self.config.tree_fanin,
                self.config.adder,
            )
            m.submodules[f"reader_{n}"] = Named(reader, f"reader_{self.operands}x{self.operand_bits}")
            m.d.comb += [
                reader.enable.eq(advance),
                reader.entries.eq(tables.entries),
                reader.codes.eq(self.codes.payload.digits[n]),
                self.product.payload.dot[n].eq(reader.dot),
            ]
            if self.style.bias:
                m.d.comb += reader.bias.eq(tables.bias)
        m.d.comb += [
            self.product.payload.tag.eq(delay(m, advance, self.codes.payload.tag, self.latency, "tag")),
            self.product.payload.operand_tag.eq(delay(m, advance, table_tag, self.latency, "operand_tag")),
        ]
        return m


class KeyMultiplier(Multiplier):
    """q . k: a query row's tables, one for each channel, read by all key lanes."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            config,
            operands=config.head_dim,
            readers=config.lanes,
            operand_bits=config.query_bits,
            dot_bits=config.key_dot_bits,
            operand_tag=layouts.query_tag(config),
            tag=layouts.key_tag(config),
        )


class ValueMultiplier(Multiplier):
    """p . v: a lane group's tables, one for each key, read by all channels."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            config,
            operands=config.lanes,
            readers=config.head_dim,
            operand_bits=config.prob_bits,
            dot_bits=config.value_dot_bits,
            operand_tag=layouts.prob_tag(config),
            tag=layouts.value_tag(config),
        )
