"""Rows of the output are rotated back, and get the value mean that preparation subtracted: see golden.restore."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.config import Config, unsigned_bits
from golden.formats import FORMATS, FP16
from golden.tables import MEAN_FRACTION_BITS
from rtl import layouts
from rtl.encode import Cut, EncodeSlices, cut, part, scaled, slices
from rtl.prepare_query import RotateRows, shared
from rtl.streams import delay, flow


class AddMean(wiring.Component):
    """i: slices of rotated rows, `cut`; o: `part` of their sums with the mean, `sum_bits` each. Latency 3.

    The mean counts 2**-MEAN_FRACTION_BITS of its unit. The finer of the two is shifted right to the other's unit and
    rounded to nearest, ties up: one shifter a channel does for both.
    """

    latency = 3

    def __init__(self, config: Config, channels: int) -> None:
        self.config, self.channels = config, channels
        self.row_bits = config.input_bits + config.rotation_stages
        self.bits = max(self.row_bits, config.input_bits + MEAN_FRACTION_BITS)
        self.sum_bits = self.bits + 1
        super().__init__(
            {
                "i": In(stream.Signature(cut(config, channels, signed(self.row_bits), shared(FP16)))),
                "mean": In(layouts.mean(config)),
                "mean_exponent": In(FORMATS[config.float_format].exponent_bits),
                "o": Out(stream.Signature(part(channels, signed(self.sum_bits), scaled(config)))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config, bits = self.config, self.bits
        advance = flow(m, self.i.valid, self.o, self.latency)
        m.d.comb += self.i.ready.eq(advance)
        row, index, tag = self.i.payload.slice.vector, self.i.payload.index, self.i.payload.slice.tag
        mean = Signal(data.ArrayLayout(signed(config.input_bits), self.channels))
        m.d.comb += Value.cast(mean).eq(slices(self.mean, self.channels)[index])

        scale = config.input_bits - 2
        row_power = tag.exponent - (FP16.bias + scale + config.rotation_stages - config.rotation_shift)
        mean_power = self.mean_exponent - (FORMATS[config.float_format].bias + scale + MEAN_FRACTION_BITS)
        ahead = row_power - mean_power
        mean_finer = ahead >= 0
        behind = abs(ahead)
        # Farther right than all its bits, any number rounds to zero.
        distance = Mux(behind > bits, bits, behind)[: unsigned_bits(bits)]
        tag_out = self.o.payload.tag
        power = delay(m, advance, Mux(mean_finer, row_power, mean_power), 2, "power")
        distance = delay(m, advance, distance, 1, "distance")
        invalid = delay(m, advance, tag.exponent == FP16.exponent_max, 2, "invalid")
        last = delay(m, advance, tag.last, 2, "last")
        with m.If(advance):
            m.d.sync += [tag_out.power.eq(power), tag_out.invalid.eq(invalid), tag_out.last.eq(last)]

        for n in range(self.channels):
            raised = mean[n] << MEAN_FRACTION_BITS
            fine = delay(m, advance, Mux(mean_finer, raised, row[n]), 1, f"fine_{n}")
            coarse = delay(m, advance, Mux(mean_finer, row[n], raised), 2, f"coarse_{n}")
            # One bit below the result decides the rounding.
            shifted = delay(m, advance, Cat(0, fine).as_signed() >> distance, 1, f"shifted_{n}")
            with m.If(advance):
                m.d.sync += self.o.payload.vector[n].eq(coarse + (shifted >> 1) + shifted[0])
        return m


class Restore(wiring.Component):
    """i: rows of the core's output, o: rows of the head's; `words` of FP16. A row that is not finite gives NaNs.

    `mean` and its biased exponent stay while rows are under way. A row is taken every `interval` cycles, as by
    PrepareQuery, and leaves `latency` = slices + rotation cycles + 9 cycles later unless it waits.
    """

    def __init__(self, config: Config) -> None:
        self.rotate = RotateRows(config, FP16)
        self.add = AddMean(config, config.output_lanes)
        self.cut = Cut(config, signed(self.add.row_bits), shared(FP16), config.output_lanes)
        self.encode = EncodeSlices(config, FP16, self.add.sum_bits)
        self.interval = max(self.rotate.interval, self.cut.slices + self.rotate.rotate.cycles - 1)
        self.latency = self.rotate.latency + self.cut.slices - 1 + Cut.latency + AddMean.latency + EncodeSlices.latency
        layout = layouts.row(config, FP16)
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "mean": In(layouts.mean(config)),
                "mean_exponent": In(FORMATS[config.float_format].exponent_bits),
                "o": Out(stream.Signature(layout)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.rotate, m.submodules.cut, m.submodules.add = rotate, cut, add = self.rotate, self.cut, self.add
        m.submodules.encode = self.encode
        connect(m, flipped(self.i), rotate.i)
        connect(m, rotate.o, cut.i)
        connect(m, cut.o, add.i)
        connect(m, add.o, self.encode.i)
        connect(m, self.encode.o, flipped(self.o))
        m.d.comb += [add.mean.eq(self.mean), add.mean_exponent.eq(self.mean_exponent)]
        return m
