"""Quantisation of rotated keys and values: a scale for every row, and strings of digits. See golden.quantise.

Keys and values go through one after the other; where they differ, a row's flag selects between two constants. A row is
looked at in chunks of `channels` channels, of which one enters in every cycle. While the scale is computed from the
largest magnitude, its chunks wait in a ring; then they are multiplied by the gain, the inverse of the scale.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import DIGIT_BITS, DIGIT_MAX, DIGIT_MIN, Config, signed_bits, unsigned_bits
from golden.formats import FORMATS
from golden.tables import CODE_FRACTION_BITS, FACTOR_BITS, INVERSE_BITS, ONE
from rtl.centre import centred_row
from rtl.exp2 import rom
from rtl.library import Named
from rtl.rounding import leading
from rtl.streams import delay, delays, flow
from rtl.trees import largest

SCALE_LATENCY = 9
"""Registers from a row's last chunk to its gain."""


def exponent_bits(config: Config) -> int:
    """Bits of an exponent, and of the least one: a stored one less a factor's and an aligned row's."""
    return signed_bits((1 << config.key_exponent_bits) + FORMATS[config.float_format].exponent_max + config.input_bits)


def gain_shift(config: Config) -> int:
    """Fraction bits of the inverse of a scale's mantissa."""
    return config.scale_bits + FACTOR_BITS - 2


def quantised(config: Config) -> data.StructLayout:
    """One row as codes, their digits in two's complement, the first at the top: codes * mantissa * 2**exponent."""
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(config.code_bits, config.head_dim),
            "mantissa": config.scale_bits,
            "exponent": signed(exponent_bits(config)),
            "value": 1,
            "last": 1,
        }
    )


def steps(config: Config) -> tuple[int, int]:
    """Steps between the digits of a code: that of values, and that of keys."""
    return config.value_digit_step, config.key_digit_step


def returned(config: Config, step: int) -> int:
    """What is given back to the rest after the first digit, for what clipping takes on average."""
    weight, *rest = config.digit_weights(step)
    beyond = max(Fraction(0), Fraction(weight, 2) - DIGIT_MAX * sum(rest))
    return round(beyond**2 / (2 * weight) * (1 << CODE_FRACTION_BITS))


class QuantiseLane(wiring.Component):
    """The code of one channel: product, rounding to a fraction of a unit, and a cycle for every digit.

    `value` says of every digit whether the row that is at it is a value.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.most_shift = config.rotated_bits + FACTOR_BITS  # shifted right by that, all products round to zero
        super().__init__(
            {
                "enable": In(1),
                "element": In(signed(config.rotated_bits)),
                "gain": In(FACTOR_BITS),
                "shift": In(range(self.most_shift + 1)),
                "value": In(config.digits),
                "code": Out(config.code_bits),
            }
        )

    ROUNDED = 2
    """Cycles of `enable` from the element to its product in units."""

    @classmethod
    def latency(cls, config: Config) -> int:
        """Those from the element to its code."""
        return cls.ROUNDED + config.digits

    def elaborate(self, platform) -> Module:
        m = Module()
        config, enable = self.config, self.enable
        product = delay(m, enable, self.element * self.gain, 1, "product")
        shift = delay(m, enable, self.shift, 1, "shift")
        # Scales are rounded up and gains are exact to 2**-14: no magnitude exceeds the largest code by a unit.
        most = max(map(config.code_max, steps(config))) + 1
        unit_shape = signed(signed_bits(most << CODE_FRACTION_BITS))
        rest = Signal(unit_shape, name="units", reset_less=True)
        with m.If(enable):
            m.d.sync += rest.eq((((product << 1) >> shift) + 1) >> 1)
        digits: list[Value] = []
        for n in range(config.digits):
            # Where the digit's unit is in the rest: of a value, and of a key.
            units = [step * (config.digits - 1 - n) + CODE_FRACTION_BITS for step in steps(config)]
            halves, least = Signal(unit_shape, name=f"halves_{n}"), DIGIT_MIN if n else -DIGIT_MAX
            rounded = (halves + 1) >> 1
            digit = Signal(signed(DIGIT_BITS), name=f"digit_{n}")
            m.d.comb += [
                halves.eq(Mux(self.value[n], *(rest >> (unit - 1) for unit in units))),
                digit.eq(Mux(rounded > DIGIT_MAX, DIGIT_MAX, Mux(rounded < least, least, rounded))),
            ]
            taken = Mux(self.value[n], *(digit << unit for unit in units))
            back = 0 if n else Mux(self.value[n], *(returned(config, step) for step in steps(config)))
            left = Signal(unit_shape, name=f"rest_{n}", reset_less=True)
            with m.If(enable):
                m.d.sync += left.eq(rest - taken + back)
            digits.append(delay(m, enable, digit, config.digits - n, f"digit_{n}"))
            rest = left
        m.d.comb += self.code.eq(Cat(*reversed(digits)))
        return m


class Quantise(wiring.Component):
    """i: `centred_row`, o: `quantised`.

    `key_factor`, the leading one of its mantissa set, by which keys are multiplied, and the least exponents of either
    kind must be stable while such rows are under way. One row every `chunks` = head_dim / channels cycles; `latency` =
    2 * chunks + digits + 11, so that up to ceil(latency / chunks) rows are under way. channels + 2 multipliers, and a
    ring of (chunks + 7) * channels elements.
    """

    def __init__(self, config: Config, channels: int = 16) -> None:
        if config.head_dim % channels:
            raise ValueError(f"channels = {channels}: must divide config.head_dim = {config.head_dim}")
        self.config, self.channels = config, channels
        self.chunks = config.head_dim // channels
        self.latency = 2 * self.chunks + SCALE_LATENCY + QuantiseLane.latency(config)
        super().__init__(
            {
                "i": In(stream.Signature(centred_row(config))),
                "key_factor": In(FACTOR_BITS),
                "key_least": In(signed(exponent_bits(config))),
                "value_least": In(signed(exponent_bits(config))),
                "o": Out(stream.Signature(quantised(config))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config, width = self.config, self.channels * self.config.rotated_bits

        # A row leaves its register chunk by chunk.
        row = Signal(self.chunks * width, reset_less=True)
        kind, row_last = Signal(reset_less=True), Signal(reset_less=True)
        busy, chunk = Signal(), Signal(unsigned_bits(self.chunks - 1))
        end = busy & (chunk == self.chunks - 1)
        advance = flow(m, end, self.o, self.latency - self.chunks)
        m.d.comb += self.i.ready.eq(advance & (~busy | end))
        with m.If(advance & busy):
            m.d.sync += [chunk.eq(Mux(end, 0, chunk + 1)), row.eq(row >> width)]
        with m.If(self.i.ready):
            m.d.sync += [
                busy.eq(self.i.valid),
                row.eq(Value.cast(self.i.payload.vector)),
                kind.eq(self.i.payload.value),
                row_last.eq(self.i.payload.last),
            ]
        elements = [row[n * config.rotated_bits :][: config.rotated_bits].as_signed() for n in range(self.channels)]

        # All of a row stays until its last chunk has been multiplied, which is when the next one's may come.
        taken = delay(m, advance, end, SCALE_LATENCY - 1, "taken")
        last = delay(m, advance, row_last, SCALE_LATENCY - 1, "last")
        scale = *self.scale(m, advance, elements, chunk == 0, kind), last
        held = [Signal.like(value, name=f"held_{n}", reset_less=True) for n, value in enumerate(scale)]
        with m.If(advance & taken):
            m.d.sync += [register.eq(value) for register, value in zip(held, scale, strict=True)]
        gain, shift, value, *beside = held
        values = delays(m, advance, value, QuantiseLane.latency(config) + 1, "value")

        waited = self.ring(m, advance, row[:width], self.chunks + SCALE_LATENCY - 1)
        codes: list[Value] = []
        for n in range(self.channels):
            lane = QuantiseLane(config)
            m.submodules[f"lane_{n}"] = Named(lane, "quantise_lane")
            m.d.comb += [
                lane.enable.eq(advance),
                lane.element.eq(waited[n * config.rotated_bits :][: config.rotated_bits]),
                lane.gain.eq(gain),
                lane.shift.eq(shift),
                lane.value.eq(Cat(values[QuantiseLane.ROUNDED : QuantiseLane.latency(config)])),
            ]
            codes.append(lane.code)
        out = Value.cast(self.o.payload.codes)
        with m.If(advance):
            m.d.sync += out.eq(Cat(out, *codes)[-len(out) :])
        m.d.comb += self.o.payload.value.eq(values[-1])
        for name, word in zip(("mantissa", "exponent", "last"), beside, strict=True):
            m.d.comb += self.o.payload[name].eq(delay(m, advance, word, QuantiseLane.latency(config) + 1, name))
        return m

    def ring(self, m: Module, enable: Value, word: Value, cycles: int) -> Value:
        """`word`, so many cycles of `enable` later; in a memory, where registers would all move in every cycle."""
        depth = cycles - 1  # the port's register is one more
        m.submodules.ring = ring = memory.Memory(shape=len(word), depth=depth, init=[])
        read, write = ring.read_port(), ring.write_port()
        place = Signal(range(depth))
        with m.If(enable):
            m.d.sync += place.eq(Mux(place == depth - 1, 0, place + 1))
        m.d.comb += [
            write.en.eq(enable),
            write.addr.eq(place),
            write.data.eq(word),
            read.en.eq(enable),
            read.addr.eq(place),  # what is replaced
        ]
        return read.data

    def scale(self, m: Module, enable: Value, elements: list[Value], first: Value, kind: Value) -> tuple[Value, ...]:
        """Gain, shift, kind, mantissa and exponent of a row; combinational on a register SCALE_LATENCY - 1 cycles after
        its last chunk. `first` is its first one, `kind` that of the row.
        """
        config = self.config
        kinds = delays(m, enable, kind, SCALE_LATENCY - 1, "kind")
        magnitudes = [
            delay(m, enable, abs(element)[: config.rotated_bits], 1, f"magnitude_{n}")
            for n, element in enumerate(elements)
        ]
        peak = delay(m, enable, largest(m, "largest", magnitudes), 1, "peak")
        start = delay(m, enable, first, 2, "start")
        most = Signal(config.rotated_bits, reset_less=True)
        with m.If(enable):
            m.d.sync += most.eq(Mux(start | (peak > most), peak, most))

        scaled = delay(m, enable, most * Mux(kinds[3], ONE, self.key_factor), 1, "scaled")
        inverses = [-(-(1 << INVERSE_BITS) // config.code_max(step)) for step in steps(config)]
        product = delay(m, enable, Mux(kinds[4], *(scaled * inverse for inverse in inverses)), 1, "product")
        normalised, length = leading(m, product, len(product), "product")
        # Any product but zero has more than scale_bits bits.
        top = delay(m, enable, normalised[-config.scale_bits :], 1, "top")
        inexact = delay(m, enable, normalised[: -config.scale_bits].any(), 1, "inexact")
        length = delay(m, enable, length, 1, "length")

        rounded = top + inexact
        over = rounded[config.scale_bits]
        exponent = length + over - (config.scale_bits + INVERSE_BITS + FACTOR_BITS - 1)
        lowest = Mux(kinds[6], self.value_least, self.key_least)
        small = (length == 0) | (exponent < lowest)
        half = 1 << (config.scale_bits - 1)
        mantissa = delay(m, enable, Mux(small | over, half, rounded)[: config.scale_bits], 1, "mantissa")
        exponent = Mux(small, lowest, exponent)[: exponent_bits(config)].as_signed()
        exponent = delay(m, enable, exponent, 1, "exponent")

        mantissas = np.arange(half, 2 * half, dtype=np.int64)
        rounded_inverses = ((1 << gain_shift(config)) + (mantissas >> 1)) // mantissas
        inverse = delay(m, enable, rom(m, "inverses", rounded_inverses, mantissa[:-1]), 1, "inverse")
        shift = exponent + (gain_shift(config) - CODE_FRACTION_BITS)
        most_shift = config.rotated_bits + FACTOR_BITS
        limited = Mux(shift < 0, 0, Mux(shift > most_shift, most_shift, shift))[: unsigned_bits(most_shift)]
        limited = delay(m, enable, limited.as_unsigned(), 1, "limited")
        factor = Mux(kinds[-1], ONE, self.key_factor)
        gain = ((factor * inverse + (ONE >> 1)) >> (FACTOR_BITS - 1))[:FACTOR_BITS]
        beside = delay(m, enable, mantissa, 1, "mantissa_2"), delay(m, enable, exponent, 1, "exponent_2")
        return gain, limited, kinds[-1], *beside
