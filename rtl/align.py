"""Block alignment of query rows: see golden.align."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from golden.formats import FORMATS, FloatFormat
from rtl import layouts
from rtl.streams import delay, flow
from rtl.trees import largest


class Align(wiring.Component):
    """i: `layouts.query`, o: `layouts.aligned`. One row per cycle, latency 2.

    The first stage finds the largest exponent, the second shifts and rounds.
    """

    latency = 2

    def __init__(self, config: Config) -> None:
        self.config, self.form = config, FORMATS[config.float_format]
        super().__init__(
            {"i": In(stream.Signature(layouts.query(config))), "o": Out(stream.Signature(layouts.aligned(config)))}
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        advance = flow(m, self.i.valid, self.o, self.latency)
        m.d.comb += self.i.ready.eq(advance)

        found = largest(m, "own", [own_exponent(self.form, element) for element in self.i.payload.elements])
        exponent = delay(m, advance, found, 1, "exponent")
        held = delay(m, advance, self.i.payload, 1, "held")
        bits = self.config.query_bits
        mantissas = [mantissa(m, self.form, bits, element, exponent, n) for n, element in enumerate(held.elements)]
        out = self.o.payload
        with m.If(advance):
            m.d.sync += [
                *(out.mantissa[n].eq(mantissa) for n, mantissa in enumerate(mantissas)),
                out.tag.exponent.eq(exponent),
                out.tag.info.invalid.eq(exponent == self.form.exponent_max),
                out.tag.info.output_exponent.eq(held.output_exponent),
                out.last.eq(held.last),
            ]
        return m


def own_exponent(form: FloatFormat, element: Value) -> Value:
    """The exponent of an element: the field, but that of subnormal numbers is 1."""
    field = element[form.fraction_bits : -1]
    return Cat(field[0] | ~field.any(), field[1:])


def mantissa(m: Module, form: FloatFormat, bits: int, element: Value, exponent: Value, n: int) -> Value:
    """The significand of an element, shifted to a shared exponent and rounded to `bits` bits, with its sign.

    The exponent must not be smaller than the element's own. `n` names its signals.
    """
    significand = Cat(element[: form.fraction_bits], element[form.fraction_bits : -1].any())
    # One bit below the result decides the rounding; a narrow mantissa drops further bits of the significand.
    spare = bits - form.significand_bits
    behind = Signal(form.exponent_bits, name=f"behind_{n}")
    distance = Signal(bits.bit_length(), name=f"distance_{n}")
    shifted = Signal(bits, name=f"shifted_{n}")
    widened = significand << spare if spare > 0 else significand
    m.d.comb += [
        behind.eq(exponent - own_exponent(form, element)),
        # Ones throughout shift everything out.
        distance.eq(behind | behind[len(distance) :].any().replicate(len(distance))),
        shifted.eq((widened >> distance) >> max(0, -spare)),
    ]
    half, kept, sign = shifted[0], shifted[1:], element[-1]
    # Only a significand that does not fit can round beyond the largest magnitude. It then is not rounded.
    up = half if spare > 0 else half & ~kept.all()
    # A single adder rounds and negates: -(kept + up) = ~kept + (1 - up).
    return Cat(kept ^ sign.replicate(len(kept)), sign).as_signed() + (up ^ sign)
