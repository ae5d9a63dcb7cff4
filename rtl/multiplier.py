"""The buffered LUT multiplier: tables of one operand vector, read by many vectors of 4-bit digits.

 operand                    digits of reader 0 .. readers-1
    | fill: a few adders         |
[ table ] --- entries --> (select)-(add)-[ ]-(add)-[ ] --> dot products

Where config.full_engine is "multipliers", rtl.products stands beside it, for the passes that read whole codes.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import DIGIT_BITS, DIGIT_MIN, Config, signed_bits
from rtl import layouts
from rtl.library import Named
from rtl.products import Products
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
    codes : digits [readers][operands], `last` (the table's last use) and a tag. Where passes may be `whole`, codes in
        place of digits: any other pass reads the digit at their top.
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
        step: int,
        operand_tag: ShapeLike,
        tag: ShapeLike,
    ) -> None:
        self.config, self.operands, self.readers = config, operands, readers
        self.operand_bits, self.dot_bits, self.step = operand_bits, dot_bits, step
        self.style = STYLES[config.table]
        self.operand_tag = operand_tag
        digits = data.ArrayLayout(data.ArrayLayout(DIGIT_BITS * config.word_digits, operands), readers)
        codes = data.StructLayout({"digits": digits, "whole": layouts.whole(config), "last": 1, "tag": tag})
        super().__init__(
            {
                "operand": In(stream.Signature(layouts.operand(operand_bits, operands, operand_tag))),
                "codes": In(stream.Signature(codes)),
                "product": Out(stream.Signature(layouts.product(dot_bits, readers, operand_tag, tag))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from codes to product: of the readers, or of the multipliers beside them, which take longer."""
        stages = Products.stages(self.operands, self.config.tree_fanin)
        return stages if layouts.whole(self.config) else self.read_latency

    @property
    def read_latency(self) -> int:
        """Cycles of the readers."""
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
        read: list[Value] = []
        most = ((1 << (self.operand_bits - 1)) - 1) * -DIGIT_MIN * self.operands
        for n in range(self.readers):
            reader = Reader(
                self.style,
                self.operands,
                self.operand_bits,
                min(self.dot_bits, signed_bits(most)),
                self.config.tree_fanin,
                self.config.adder,
            )
            m.submodules[f"reader_{n}"] = Named(reader, f"reader_{self.operands}x{self.operand_bits}")
            m.d.comb += [
                reader.enable.eq(advance),
                reader.entries.eq(tables.entries),
                reader.codes.eq(Cat(code[-DIGIT_BITS:] for code in self.codes.payload.digits[n])),
            ]
            read.append(reader.dot)
            if self.style.bias:
                m.d.comb += reader.bias.eq(tables.bias)
        dots = self.joined(m, load, advance, read) if layouts.whole(self.config) else read
        m.d.comb += [
            *(self.product.payload.dot[n].eq(dot) for n, dot in enumerate(dots)),
            self.product.payload.tag.eq(delay(m, advance, self.codes.payload.tag, self.latency, "tag")),
            self.product.payload.operand_tag.eq(delay(m, advance, table_tag, self.latency, "operand_tag")),
        ]
        return m

    def joined(self, m: Module, load: Value, advance: Value, read: list[Value]) -> list[Value]:
        """What the readers give, or for whole codes the multipliers, whose latency all have then."""
        products = Products(
            self.config,
            step=self.step,
            operands=self.operands,
            readers=self.readers,
            operand_bits=self.operand_bits,
            dot_bits=self.dot_bits,
        )
        m.submodules.products = Named(products, f"products_{self.operands}x{self.operand_bits}_{self.step}")
        m.d.comb += [
            products.load.eq(load),
            products.enable.eq(advance),
            products.operands.eq(self.operand.payload.mantissa),
            products.codes.eq(self.codes.payload.digits),
        ]
        whole = delay(m, advance, self.codes.payload.whole, self.latency, "whole")
        late = [delay(m, advance, dot, self.latency - self.read_latency, f"read_{n}") for n, dot in enumerate(read)]
        return [Mux(whole, products.dot[n], dot) for n, dot in enumerate(late)]


class KeyMultiplier(Multiplier):
    """q . k: a query row's tables, one for each channel, read by all key lanes."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            config,
            operands=config.head_dim,
            readers=config.lanes,
            operand_bits=config.query_bits,
            dot_bits=config.key_dot_bits,
            step=config.key_digit_step,
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
            step=config.value_digit_step,
            operand_tag=layouts.prob_tag(config),
            tag=layouts.value_tag(config),
        )
