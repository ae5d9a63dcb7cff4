"""The buffered LUT multiplier: tables of one operand vector, read by many vectors of 4-bit digits.

 operand                    digits of reader 0 .. readers-1
    |                            |
[ next ]                         |
    | fill: a few adders         |
[ table ] --- entries --> (select)-(add)-[ ]-(add)-[ ] --> dot products
"""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, ShapeLike, Signal, Value, ValueLike, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import DIGIT_BITS, Config
from rtl import layouts
from rtl.library import Named
from rtl.streams import delay, flow
from rtl.table_styles import STYLES, TableStyle
from rtl.trees import balanced_sum


def entries_layout(style: TableStyle, bits: int) -> data.StructLayout:
    """The entries of one table, for operands of `bits` bits."""
    return data.StructLayout({f"entry_{n}": shape for n, shape in enumerate(style.entry_shapes(bits))})


def fields(view) -> list[Value]:
    """The fields of a structure, in order."""
    return [view[name] for name, _ in view.shape()]


class Table(wiring.Component):
    """One table and its double buffer: `take` stores the next operands, `load` fills the table from the stored ones."""

    def __init__(self, style: TableStyle, operand_bits: int) -> None:
        self.style, self.operand_bits = style, operand_bits
        super().__init__(
            {
                "take": In(1),
                "load": In(1),
                "operands": In(data.ArrayLayout(signed(operand_bits), style.span)),
                "entries": Out(entries_layout(style, operand_bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        following = [
            Signal(signed(self.operand_bits), name=f"next_{n}", reset_less=True) for n in range(self.style.span)
        ]
        held = Signal.like(self.entries, name="held", reset_less=True)
        with m.If(self.take):
            m.d.sync += [stored.eq(operand) for stored, operand in zip(following, self.operands, strict=True)]
        with m.If(self.load):
            m.d.sync += [
                entry.eq(multiple) for entry, multiple in zip(fields(held), self.style.fill(following), strict=True)
            ]
        m.d.comb += self.entries.eq(held)
        return m


class Product(wiring.Component):
    """Reads one table: one digit for each operand in, addends of their dot product out. Combinational."""

    def __init__(self, style: TableStyle, operand_bits: int) -> None:
        self.style = style
        entries, digits = entries_layout(style, operand_bits), data.ArrayLayout(DIGIT_BITS, style.span)
        example = Signal(digits)
        read = style.read(fields(Signal(entries)), [example[n] for n in range(style.span)])
        addends = data.StructLayout({f"addend_{n}": addend.shape() for n, addend in enumerate(read)})
        super().__init__({"entries": In(entries), "digits": In(digits), "addends": Out(addends)})

    def elaborate(self, platform) -> Module:
        m = Module()
        for addend, value in zip(
            fields(self.addends), self.style.read(fields(self.entries), list(self.digits)), strict=True
        ):
            m.d.comb += addend.eq(value)
        return m


class Reader(wiring.Component):
    """One reader: a digit for every operand in, their dot product out.

    Latency `stages(style, operands, fanin)` cycles of `enable`; one dot product per cycle.
    """

    @staticmethod
    def stages(style: TableStyle, operands: int, fanin: int) -> int:
        """Registers of an adder tree that sums `fanin` operands, but whole tables, between two of them."""
        tables, count = operands // style.span, 1
        left = -(-tables // (fanin // style.span))
        while left > 1:
            left, count = -(-left // fanin), count + 1
        return count

    def __init__(self, style: TableStyle, operands: int, operand_bits: int, dot_bits: int, fanin: int) -> None:
        self.style, self.operands, self.fanin = style, operands, max(fanin, style.span)
        self.operand_bits, self.dot_bits = operand_bits, dot_bits
        super().__init__(
            {
                "enable": In(1),
                "tables": In(data.ArrayLayout(entries_layout(style, operand_bits), operands // style.span)),
                "digits": In(data.ArrayLayout(DIGIT_BITS, operands)),
                "dot": Out(signed(dot_bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        span = self.style.span
        addends: list[list[ValueLike]] = []
        for n in range(self.operands // span):
            product = Product(self.style, self.operand_bits)
            m.submodules[f"product_{n}"] = Named(product, f"product_{self.operand_bits}")
            m.d.comb += [
                product.entries.eq(self.tables[n]),
                *(product.digits[k].eq(self.digits[n * span + k]) for k in range(span)),
            ]
            addends.append([*fields(product.addends), C(self.style.offset, signed(DIGIT_BITS + 1))])
        step, level = self.fanin // span, 0
        while True:
            registers = []
            for n in range(0, len(addends), step):
                total = balanced_sum([addend for part in addends[n : n + step] for addend in part])
                # No partial sum exceeds the dot product's bound, however many bits its adders could fill.
                register = Signal(
                    signed(min(len(total), self.dot_bits)), name=f"sum_{level}_{n // step}", reset_less=True
                )
                with m.If(self.enable):
                    m.d.sync += register.eq(total)
                registers.append(register)
            if len(registers) == 1:
                m.d.comb += self.dot.eq(registers[0])
                return m
            addends, step, level = [[r] for r in registers], self.fanin, level + 1


class Multiplier(wiring.Component):
    """Dot products of a long-lived operand vector with `readers` digit vectors per cycle.

    Streams
    -------
    operand : signed mantissas [operands] and a tag. Accepted into `next` while the current table is read.
    codes : digits [readers][operands], `last` (the table's last use) and a tag.
    product : dot [readers], both tags. Latency `latency` cycles.

    One beat of codes per cycle; switching tables costs no cycle, provided the next operand came two cycles before
    its first codes. Exact: golden.multiplier.multiply.
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
        if operands % self.style.span:
            raise ValueError(
                f"config.table = {config.table!r}: {operands} operands are not a multiple of {self.style.span}"
            )
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
        following_valid, table_valid = Signal(), Signal()
        following_tag = Signal(self.operand_tag, reset_less=True)
        table_tag = Signal(self.operand_tag, reset_less=True)

        codes_taken, load = Signal(), Signal()
        advance = flow(m, codes_taken, self.product, self.latency)
        m.d.comb += [
            self.codes.ready.eq(advance & table_valid),
            codes_taken.eq(self.codes.valid & self.codes.ready),
            load.eq(following_valid & (~table_valid | (codes_taken & self.codes.payload.last))),
            self.operand.ready.eq(~following_valid | load),
        ]
        with m.If(self.operand.ready):
            m.d.sync += [following_valid.eq(self.operand.valid), following_tag.eq(self.operand.payload.tag)]
        with m.If(load):
            m.d.sync += table_tag.eq(following_tag)
        m.d.sync += table_valid.eq(Mux(codes_taken & self.codes.payload.last, load, table_valid | load))

        tables = []
        for n in range(self.operands // self.style.span):
            table = Table(self.style, self.operand_bits)
            m.submodules[f"table_{n}"] = Named(table, f"table_{self.operand_bits}")
            operands = (self.operand.payload.mantissa[n * self.style.span + k] for k in range(self.style.span))
            m.d.comb += [
                table.take.eq(self.operand.ready),
                table.load.eq(load),
                Value.cast(table.operands).eq(Cat(operands)),
            ]
            tables.append(table.entries)
        for n in range(self.readers):
            reader = Reader(self.style, self.operands, self.operand_bits, self.dot_bits, self.config.tree_fanin)
            m.submodules[f"reader_{n}"] = Named(reader, f"reader_{self.operands}x{self.operand_bits}")
            m.d.comb += [
                reader.enable.eq(advance),
                Value.cast(reader.tables).eq(Cat(tables)),
                reader.digits.eq(self.codes.payload.digits[n]),
                self.product.payload.dot[n].eq(reader.dot),
            ]
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
