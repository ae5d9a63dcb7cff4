"""Centring of keys or values: aligned to the head's exponent, less the mean, rotated: see golden.prepare.centred."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ShapeLike, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from golden.formats import FORMATS
from rtl import layouts
from rtl.align import mantissa
from rtl.rotate import rotates, vector
from rtl.streams import delay, delays, flow

TAG: ShapeLike = data.StructLayout({"value": 1, "last": 1})


def raw_row(config: Config) -> data.StructLayout:
    """One row of a head's keys, or of its values; `last` ends these."""
    return data.StructLayout({"elements": layouts.row(config)["elements"].shape, "value": 1, "last": 1})


def offset(config: Config) -> data.StructLayout:
    """What rows of a kind are aligned to, and what they lose: no element's own exponent is larger."""
    return data.StructLayout({"exponent": FORMATS[config.float_format].exponent_bits, "mean": layouts.mean(config)})


def centred_row(config: Config) -> data.StructLayout:
    """The same, centred and rotated."""
    vector = data.ArrayLayout(signed(config.rotated_bits), config.head_dim)
    return data.StructLayout({"vector": vector, "value": 1, "last": 1})


class Centre(wiring.Component):
    """i: `raw_row`, o: `centred_row`. One row every `cycles` cycles; `latency` is that of the rotation and 3 more.

    `keys` and `values`, the `offset` of each kind, must be stable while rows of it are under way. A row is aligned,
    loses the mean, is rotated, and is shifted and rounded.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.rotates = rotates(config, config.centred_bits, TAG, config.prepare_interval)
        self.cycles = max(rotate.cycles for rotate in self.rotates)
        self.latency = 2 + sum(rotate.cycles for rotate in self.rotates) + 1
        super().__init__(
            {
                "i": In(stream.Signature(raw_row(config))),
                "keys": In(offset(config)),
                "values": In(offset(config)),
                "o": Out(stream.Signature(centred_row(config))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config, form, row = self.config, FORMATS[self.config.float_format], self.i.payload
        centred = stream.Signature(vector(config, config.centred_bits, TAG)).create()
        rotated: stream.Interface = centred
        for n, rotate in enumerate(self.rotates):
            m.submodules[f"rotate_{n}"] = rotate
            wiring.connect(m, rotated, rotate.i)
            rotated = rotate.o

        advance = flow(m, self.i.valid, centred, 2)
        _, value, value_too = delays(m, advance, row.value, 2, "value")
        m.d.comb += [
            self.i.ready.eq(advance),
            centred.payload.tag.value.eq(value_too),
            centred.payload.tag.last.eq(delay(m, advance, row.last, 2, "last")),
        ]
        exponent = Mux(row.value, self.values.exponent, self.keys.exponent)
        for n, element in enumerate(row.elements):
            aligned = Signal(signed(config.input_bits), name=f"aligned_{n}", reset_less=True)
            mean = Mux(value, self.values.mean[n], self.keys.mean[n])
            with m.If(advance):
                m.d.sync += [
                    aligned.eq(mantissa(m, form, config.input_bits, element, exponent, n)),
                    centred.payload.vector[n].eq(aligned - mean),
                ]

        leave = flow(m, rotated.valid, self.o, 1)
        m.d.comb += rotated.ready.eq(leave)
        half = 1 << config.rotation_shift >> 1
        with m.If(leave):
            m.d.sync += [self.o.payload[name].eq(rotated.payload.tag[name]) for name in ("value", "last")]
            for out, element in zip(self.o.payload.vector, rotated.payload.vector, strict=True):
                m.d.sync += out.eq((element + half) >> config.rotation_shift)
        return m
