"""Integers with a common power of two become floating-point words again, a few channels of a row at a time.

Rows of queries and of the output are rare: they are cut to slices, and what a channel takes exists `channels` times.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, ShapeLike, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from golden.config import Config, signed_bits, unsigned_bits
from golden.formats import FORMATS, FloatFormat
from golden.tables import MEAN_FRACTION_BITS
from rtl import layouts
from rtl.rounding import denormalising, leading, rounded
from rtl.streams import delay, flow


def power_shape(config: Config) -> Shape:
    """The power of two of a row's unit: that of an aligned row, or of a mean with its further bits."""
    # rotation_shift and rotation_stages, which count too, are at most 8.
    return signed(signed_bits(FORMATS[config.float_format].bias + config.input_bits + MEAN_FRACTION_BITS))


def scaled(config: Config) -> data.StructLayout:
    """What travels beside numbers that are to be words: value = number * 2**power, and a NaN if `invalid`."""
    return data.StructLayout({"power": power_shape(config), "invalid": 1, "last": 1})


def integers(config: Config, width: int) -> data.StructLayout:
    """A row of integers with a common power of two."""
    numbers = data.ArrayLayout(signed(width), config.head_dim)
    return data.StructLayout({"vector": numbers} | {name: field.shape for name, field in scaled(config)})


def part(channels: int, element: ShapeLike, tag: ShapeLike) -> data.StructLayout:
    """Some channels of a row, or all, and what travels beside it."""
    return data.StructLayout({"vector": data.ArrayLayout(element, channels), "tag": tag})


def cut(config: Config, channels: int, element: ShapeLike, tag: ShapeLike) -> data.StructLayout:
    """A slice that is told which one of its row it is, and in which turn."""
    index = unsigned_bits(config.head_dim // channels - 1)
    return data.StructLayout({"slice": part(channels, element, tag), "index": index, "turn": 1})


class Cut(wiring.Component):
    """i: rows, `part` of head_dim channels; o: their slices in order, `cut`; all of them twice if there are two turns.

    One slice per cycle, latency 1. A row is not copied: it stays where it is until its last slice is taken.
    """

    latency = 1

    def __init__(self, config: Config, element: ShapeLike, tag: ShapeLike, channels: int, turns: int = 1) -> None:
        if config.head_dim % channels:
            raise ValueError(f"channels = {channels}: must divide config.head_dim = {config.head_dim}")
        self.channels, self.slices, self.turns = channels, config.head_dim // channels, turns
        super().__init__(
            {
                "i": In(stream.Signature(part(config.head_dim, element, tag))),
                "o": Out(stream.Signature(cut(config, channels, element, tag))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        advance = flow(m, self.i.valid, self.o, self.latency)
        out = self.o.payload
        index, turn = Signal.like(out.index, name="next_index"), Signal(name="next_turn")
        ends = index == self.slices - 1
        m.d.comb += self.i.ready.eq(advance & ends & (turn == self.turns - 1))
        with m.If(advance & self.i.valid):
            m.d.sync += index.eq(Mux(ends, 0, index + 1))
            if self.turns > 1:
                m.d.sync += turn.eq(turn ^ ends)

        with m.If(advance):
            m.d.sync += [
                Value.cast(out.slice.vector).eq(slices(self.i.payload.vector, self.channels)[index]),
                out.slice.tag.eq(self.i.payload.tag),
                out.index.eq(index),
                out.turn.eq(turn),
            ]
        return m


def slices(row: data.View, channels: int) -> Array:
    """The slices of a row, to be selected from by an index."""
    return Array(Cat(row[n] for n in range(k, k + channels)) for k in range(0, len(row), channels))


class Join(wiring.Component):
    """i: slices in order, `part` of `channels`; o: the rows that they make, `part` of head_dim channels.

    One slice per cycle; a row is there one cycle after its last slice was taken.
    """

    latency = 1

    def __init__(self, config: Config, element: ShapeLike, tag: ShapeLike, channels: int) -> None:
        self.channels, self.slices = channels, config.head_dim // channels
        super().__init__(
            {
                "i": In(stream.Signature(part(channels, element, tag))),
                "o": Out(stream.Signature(part(config.head_dim, element, tag))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        index = Signal(unsigned_bits(self.slices - 1))
        ends = index == self.slices - 1
        advance = flow(m, self.i.valid & ends, self.o, self.latency)
        m.d.comb += self.i.ready.eq(advance)
        with m.If(advance & self.i.valid):
            m.d.sync += [index.eq(Mux(ends, 0, index + 1)), self.o.payload.tag.eq(self.i.payload.tag)]
        for k in range(self.slices):
            with m.If(advance & (index == k)):
                for n in range(self.channels):
                    m.d.sync += self.o.payload.vector[k * self.channels + n].eq(self.i.payload.vector[n])
        return m


class EncodeLane(wiring.Component):
    """One channel: magnitude; leading one; exponent, and the shift of a subnormal result; then, within the last cycle,
    rounding to nearest, ties to even. Beyond the largest number is infinity; zero is +0, what rounds to it keeps its
    sign.
    """

    latency = 3

    def __init__(self, config: Config, form: FloatFormat, width: int) -> None:
        self.form = form
        super().__init__(
            {
                "enable": In(1),
                "number": In(signed(width)),
                "power": In(power_shape(config)),
                "invalid": In(1),
                "word": Out(form.bits),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        form, enable, number = self.form, self.enable, self.number
        most = form.significand_bits + 1  # a significand shifted right by more rounds to zero

        negative = delay(m, enable, number[-1], 3, "negative")
        invalid = delay(m, enable, self.invalid, 3, "invalid")
        power = delay(m, enable, self.power, 2, "power")
        magnitude = delay(m, enable, abs(number)[: len(number)], 1, "magnitude")

        # Cycle 2: the significand with its rounding bit, and a bit for all that follows.
        mantissa, length = leading(m, magnitude, max(len(number), most + 1), "number")
        significand = delay(m, enable, Cat(mantissa[:-most].any(), mantissa[-most:]), 1, "significand")
        length = delay(m, enable, length, 1, "length")

        # Cycle 3: subnormal results are shifted down; what falls off lies below the rounding bit.
        exponent = length + power + (form.bias - 1)
        shifted = delay(m, enable, Cat(Const(0, most), significand) >> denormalising(form, exponent), 1, "shifted")
        exponent = delay(m, enable, exponent, 1, "exponent")
        zero = delay(m, enable, length == 0, 1, "zero")

        word = rounded(form, negative, exponent, shifted, most + 2)
        m.d.comb += self.word.eq(Mux(invalid, form.nan, Mux(zero, 0, word)))
        return m


class EncodeSlices(wiring.Component):
    """i: slices in order, `part` of numbers of `width` bits and `scaled`; o: rows of words.

    One slice per cycle; a row is there `latency` cycles after its last slice was taken.
    """

    latency = EncodeLane.latency + Join.latency

    def __init__(self, config: Config, form: FloatFormat, width: int) -> None:
        self.config, self.form, self.width, self.channels = config, form, width, config.output_lanes
        super().__init__(
            {
                "i": In(stream.Signature(part(config.output_lanes, signed(width), scaled(config)))),
                "o": Out(stream.Signature(layouts.row(config, form))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.join = join = Join(self.config, self.form.bits, 1, self.channels)
        advance = flow(m, self.i.valid, join.i, EncodeLane.latency)
        tag = self.i.payload.tag
        for n in range(self.channels):
            m.submodules[f"lane_{n}"] = lane = EncodeLane(self.config, self.form, self.width)
            m.d.comb += [
                lane.enable.eq(advance),
                lane.number.eq(self.i.payload.vector[n]),
                lane.power.eq(tag.power),
                lane.invalid.eq(tag.invalid),
                join.i.payload.vector[n].eq(lane.word),
            ]
        m.d.comb += [
            self.i.ready.eq(advance),
            join.i.payload.tag.eq(delay(m, advance, tag.last, EncodeLane.latency, "last")),
            self.o.valid.eq(join.o.valid),
            self.o.payload.elements.eq(join.o.payload.vector),
            self.o.payload.last.eq(join.o.payload.tag),
            join.o.ready.eq(self.o.ready),
        ]
        return m


class Encode(wiring.Component):
    """i: rows of `integers`, o: rows of `words`: value = number * 2**power, rounded to nearest, ties to even.

    A row takes head_dim / output_lanes cycles, in the last of which it is taken; it leaves `latency` cycles after that.
    """

    latency = Cut.latency + EncodeSlices.latency

    def __init__(self, config: Config, form: FloatFormat, width: int) -> None:
        self.interval = config.output_slices
        self.cut = Cut(config, signed(width), scaled(config), config.output_lanes)
        self.encode = EncodeSlices(config, form, width)
        super().__init__(
            {"i": In(stream.Signature(integers(config, width))), "o": Out(stream.Signature(layouts.row(config, form)))}
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.cut, m.submodules.encode = self.cut, self.encode
        row = self.cut.i.payload
        m.d.comb += [
            row.vector.eq(self.i.payload.vector),
            *(row.tag[name].eq(self.i.payload[name]) for name, _ in row.tag.shape()),
            self.cut.i.valid.eq(self.i.valid),
            self.i.ready.eq(self.cut.i.ready),
            self.encode.i.valid.eq(self.cut.o.valid),
            self.encode.i.payload.eq(self.cut.o.payload.slice),
            self.cut.o.ready.eq(self.encode.i.ready),
        ]
        connect(m, self.encode.o, wiring.flipped(self.o))
        return m
