"""Raw rows are aligned and rotated, which the output's rows need too, and query rows encoded: see golden.prepare."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.config import Config
from golden.formats import FORMATS, FloatFormat
from rtl import layouts
from rtl.align import mantissa, own_exponent
from rtl.encode import Cut, Encode, Join
from rtl.rotate import Rotate, vector
from rtl.trees import largest

STAGES_PER_CYCLE = 1
"""Stages of a rotation: cutting a row takes longer than rotating it anyway, so the fewest adders do."""


def shared(form: FloatFormat) -> data.StructLayout:
    """What travels beside the mantissas of a row: their exponent, that of infinities if the row is not finite."""
    return data.StructLayout({"exponent": form.exponent_bits, "last": 1})


class RotateRows(wiring.Component):
    """i: rows of words; o: rows of integers, rtl.rotate.vector of input_bits + rotation_stages bits and `shared`.

    A row is aligned to input_bits at its own exponent, slice by slice of output_lanes channels in two turns: the first
    finds the exponent. So it takes `interval` = 2 * head_dim / output_lanes cycles, in the last of which it is taken;
    `latency` cycles after that it is there, rotated, unless the one before still is.
    """

    def __init__(self, config: Config, form: FloatFormat) -> None:
        self.config, self.form, channels = config, form, config.output_lanes
        self.cut = Cut(config, form.bits, 1, channels, turns=2)
        self.join = Join(config, signed(config.input_bits), shared(form), channels)
        self.rotate = Rotate(config, config.input_bits, shared(form), STAGES_PER_CYCLE)
        self.interval = 2 * self.cut.slices
        self.latency = Cut.latency + Join.latency + self.rotate.cycles
        super().__init__(
            {
                "i": In(stream.Signature(layouts.row(config, form))),
                "o": Out(stream.Signature(self.layout(config, form))),
            }
        )

    @staticmethod
    def layout(config: Config, form: FloatFormat) -> data.StructLayout:
        """Of the rows at o."""
        return vector(config, config.input_bits + config.rotation_stages, shared(form))

    def elaborate(self, platform) -> Module:
        m = Module()
        form, cut, join = self.form, self.cut, self.join
        m.submodules.cut, m.submodules.join, m.submodules.rotate = cut, join, self.rotate
        m.d.comb += [
            cut.i.payload.vector.eq(self.i.payload.elements),
            cut.i.payload.tag.eq(self.i.payload.last),
            cut.i.valid.eq(self.i.valid),
            self.i.ready.eq(cut.i.ready),
        ]
        connect(m, join.o, self.rotate.i)
        connect(m, self.rotate.o, flipped(self.o))

        held = cut.o.payload
        elements, exponent = held.slice.vector, Signal(form.exponent_bits)
        found = largest(m, "own", [own_exponent(form, element) for element in elements])
        with m.If(cut.o.valid & ~held.turn):
            m.d.sync += exponent.eq(Mux((held.index == 0) | (found > exponent), found, exponent))
        m.d.comb += [
            cut.o.ready.eq(join.i.ready | ~held.turn),
            join.i.valid.eq(cut.o.valid & held.turn),
            *(
                join.i.payload.vector[n].eq(mantissa(m, form, self.config.input_bits, element, exponent, n))
                for n, element in enumerate(elements)
            ),
            join.i.payload.tag.exponent.eq(exponent),
            join.i.payload.tag.last.eq(held.slice.tag),
        ]
        return m


class PrepareQuery(wiring.Component):
    """i: raw query rows, o: rotated ones; `words` of config.float_format. A row that is not finite gives NaNs.

    A row is taken every `interval` = max(2 * slices, slices + rotation cycles - 1) cycles, slices = head_dim /
    output_lanes, and leaves slices + rotation cycles + 6 cycles later, which is `latency`, unless it waits for the one
    before it: it does not where the rotation takes no more cycles than there are slices.
    """

    def __init__(self, config: Config) -> None:
        self.config, self.form = config, FORMATS[config.float_format]
        self.rotate = RotateRows(config, self.form)
        self.encode = Encode(config, self.form, config.input_bits + config.rotation_stages)
        self.interval = max(self.rotate.interval, self.encode.interval + self.rotate.rotate.cycles - 1)
        self.latency = self.rotate.latency + self.encode.interval - 1 + Encode.latency
        layout = layouts.row(config, self.form)
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform) -> Module:
        m = Module()
        config, form = self.config, self.form
        m.submodules.rotate, m.submodules.encode = rotate, encode = self.rotate, self.encode
        connect(m, flipped(self.i), rotate.i)
        connect(m, encode.o, flipped(self.o))
        row, tag = encode.i.payload, rotate.o.payload.tag
        m.d.comb += [
            row.vector.eq(rotate.o.payload.vector),
            row.power.eq(tag.exponent - (form.bias + config.input_bits - 2 + config.rotation_shift)),
            row.invalid.eq(tag.exponent == form.exponent_max),
            row.last.eq(tag.last),
            encode.i.valid.eq(rotate.o.valid),
            rotate.o.ready.eq(encode.i.ready),
        ]
        return m
