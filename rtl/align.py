"""Block alignment of query rows: see golden.align."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from golden.formats import FORMATS
from rtl import layouts
from rtl.streams import delay, flow
from rtl.trees import largest


class Align(wiring.Component):
    """i: `layouts.query`, o: `layouts.aligned`. One row per cycle, latency 2.

    The first stage finds the largest exponent, the second shifts and rounds.
    """

    latency = 2

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {"i": In(stream.Signature(layouts.query(config))), "o": Out(stream.Signature(layouts.aligned(config)))}
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config, form = self.config, FORMATS[self.config.float_format]
        advance = flow(m, self.i.valid, self.o, self.latency)
        m.d.comb += self.i.ready.eq(advance)

        fields = [Signal(form.exponent_bits, name=f"field_{n}") for n in range(config.head_dim)]
        owns = [Signal(form.exponent_bits, name=f"own_{n}") for n in range(config.head_dim)]
        for n, (field, own) in enumerate(zip(fields, owns, strict=True)):
            m.d.comb += field.eq(self.i.payload.elements[n][form.fraction_bits : -1])
            m.d.comb += own.eq(Mux(field == 0, 1, field))
        exponent = delay(m, advance, largest(owns), 1, "exponent")
        held = delay(m, advance, self.i.payload, 1, "held")

        mantissas = []
        for n in range(config.head_dim):
            own = delay(m, advance, owns[n], 1, f"own_{n}")
            mantissas.append(self.mantissa(m, n, held.elements[n], own, exponent))
        out = self.o.payload
        with m.If(advance):
            m.d.sync += [
                *(out.mantissa[n].eq(mantissa) for n, mantissa in enumerate(mantissas)),
                out.tag.exponent.eq(exponent),
                out.tag.info.invalid.eq(exponent == form.exponent_max),
                out.tag.info.output_exponent.eq(held.output_exponent),
                out.last.eq(held.last),
            ]
        return m

    def mantissa(self, m: Module, n: int, element: Value, own: Value, exponent: Value) -> Value:
        """One significand, shifted to the shared exponent and rounded, with its sign."""
        config, form = self.config, FORMATS[self.config.float_format]
        hidden = element[form.fraction_bits : -1].any()
        significand = Cat(element[: form.fraction_bits], hidden)
        # One bit below the result decides the rounding; a narrow mantissa drops further bits of the significand.
        spare = config.query_bits - form.significand_bits
        distance = Signal(range(config.query_bits + 2), name=f"distance_{n}")
        m.d.comb += distance.eq(Mux(exponent - own > config.query_bits, config.query_bits + 1, exponent - own))
        widened = significand << spare if spare > 0 else significand
        shifted = (widened >> distance) >> max(0, -spare)
        rounded = (shifted + 1) >> 1
        magnitude = Signal(config.query_bits - 1, name=f"magnitude_{n}")
        m.d.comb += magnitude.eq(Mux(rounded > config.query_max, config.query_max, rounded))
        return Mux(element[-1], -magnitude, magnitude)
