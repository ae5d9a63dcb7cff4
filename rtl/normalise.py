"""Normalisation: the accumulated p . v divided by the accumulated p, as FP16. See golden.normalise."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config, unsigned_bits
from golden.formats import FP16
from golden.tables import RECIPROCAL_INDEX_BITS, reciprocal_tables
from rtl import layouts
from rtl.exp2 import rom
from rtl.library import Named
from rtl.rounding import denormalising, leading, rounded
from rtl.streams import delay, flow


class NormaliseLane(wiring.Component):
    """One channel: magnitude, leading one, a cycle of waiting for the reciprocal, product, rounding to FP16.

    What concerns the whole row belongs to the sum that came three cycles of `enable` earlier: the `reciprocal` of the
    total, the power of two `offset` of the quotient, and whether it is `zero` or `invalid`.
    """

    latency = 5

    def __init__(self, config: Config) -> None:
        self.config = config
        self.offset_shape = signed(max(config.output_exponent_bits, config.prob_sum_bits.bit_length() + 1) + 1)
        super().__init__(
            {
                "enable": In(1),
                "total": In(signed(config.output_sum_bits)),
                "reciprocal": In(config.reciprocal_bits),
                "offset": In(self.offset_shape),
                "zero": In(1),
                "invalid": In(1),
                "element": Out(FP16.bits),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        bits, enable = self.config.reciprocal_bits, self.enable
        most = FP16.significand_bits + 1  # a significand shifted right by more rounds to zero

        negative = delay(m, enable, self.total[-1], 5, "negative")
        magnitude = delay(m, enable, abs(self.total)[: len(self.total)], 1, "magnitude")
        mantissa, length = leading(m, magnitude, bits, "sum")
        mantissa = delay(m, enable, mantissa, 2, "mantissa")
        length = delay(m, enable, length, 2, "length")

        # Cycle 4: the product, with 2 * bits bits or one less, and the exponent it would have with all of them.
        product = delay(m, enable, mantissa * self.reciprocal, 1, "product")
        exponent = delay(m, enable, length + self.offset + FP16.bias, 1, "exponent")
        zero = delay(
            m, enable, delay(m, enable, length == 0, 1, "empty") | delay(m, enable, self.zero, 1, "void"), 1, "zero"
        )
        invalid = delay(m, enable, self.invalid, 2, "invalid")

        # Cycle 5: one bit at the top, subnormal results shifted down; what falls off lies below the rounding bit.
        short = ~product[2 * bits - 1]
        scaled = Mux(short, product << 1, product)[: 2 * bits]
        field = exponent - short
        down = denormalising(FP16, field)
        field = delay(m, enable, field, 1, "field")
        scaled = delay(m, enable, (Cat(Const(0, most), scaled) >> down), 1, "scaled")

        split = 2 * bits + most - FP16.significand_bits
        element = rounded(FP16, negative, field, scaled, split)
        m.d.comb += self.element.eq(Mux(invalid, FP16.nan, Mux(zero, 0, element)))
        return m


class Normalise(wiring.Component):
    """i: `layouts.finished`, o: `layouts.output`.

    A row takes head_dim / output_lanes cycles; `latency` counts to the row's first output cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.chunks = config.output_slices
        super().__init__(
            {"i": In(stream.Signature(layouts.finished(config))), "o": Out(stream.Signature(layouts.output(config)))}
        )

    @property
    def latency(self) -> int:
        """Cycles from the row's sums to its output."""
        return self.chunks + NormaliseLane.latency + 1

    def elaborate(self, platform) -> Module:
        m = Module()
        config, lanes = self.config, self.config.output_lanes
        row = Signal(layouts.finished(config), reset_less=True)
        busy, chunk = Signal(), Signal(unsigned_bits(self.chunks - 1))
        last = chunk == self.chunks - 1
        advance = flow(m, busy & last, self.o, NormaliseLane.latency + 1)
        m.d.comb += self.i.ready.eq(advance & (~busy | last))
        with m.If(advance & busy):
            m.d.sync += chunk.eq(Mux(last, 0, chunk + 1))
        with m.If(self.i.ready):
            m.d.sync += [busy.eq(self.i.valid), row.eq(self.i.payload)]

        reciprocal, offset, zero, invalid = self.reciprocal(m, advance, row)
        sums = Signal(lanes * config.output_sum_bits)
        chunks = Array(Cat(row.sums.output_sum[k * lanes + n] for n in range(lanes)) for k in range(self.chunks))
        m.d.comb += sums.eq(chunks[chunk])
        arriving = delay(m, advance, chunk, NormaliseLane.latency, "arriving")
        for n in range(lanes):
            lane = NormaliseLane(config)
            m.submodules[f"lane_{n}"] = Named(lane, "normalise_lane")
            m.d.comb += [
                lane.enable.eq(advance),
                lane.total.eq(sums[n * config.output_sum_bits : (n + 1) * config.output_sum_bits]),
                lane.reciprocal.eq(reciprocal),
                lane.offset.eq(offset),
                lane.zero.eq(zero),
                lane.invalid.eq(invalid),
            ]
            for k in range(self.chunks):
                with m.If(advance & (arriving == k)):
                    m.d.sync += self.o.payload[k * lanes + n].eq(lane.element)
        return m

    def reciprocal(self, m: Module, enable: Value, row) -> tuple[Value, Value, Value, Value]:
        """What the lanes need of the row, three cycles of `enable` after it: see NormaliseLane."""
        config, tables = self.config, reciprocal_tables(self.config)
        total, info = row.sums.prob_total, row.info
        mantissa, length = leading(m, total, config.reciprocal_bits, "total")
        mantissa = delay(m, enable, mantissa, 1, "mantissa")
        length = delay(m, enable, length, 3, "length")
        rest, index = (
            mantissa[: tables.rest_bits],
            mantissa[tables.rest_bits : tables.rest_bits + RECIPROCAL_INDEX_BITS],
        )
        base = delay(m, enable, rom(m, "base", tables.base, index), 1, "base")
        fall = delay(m, enable, (rom(m, "slope", tables.slope, index) * rest) >> tables.rest_bits, 1, "fall")
        reciprocal = delay(m, enable, (base - fall)[: config.reciprocal_bits], 1, "reciprocal")
        exponent = delay(m, enable, info.output_exponent, 3, "exponent")
        invalid = delay(m, enable, info.invalid, 3, "invalid")
        return reciprocal, exponent - length, length == 0, invalid
