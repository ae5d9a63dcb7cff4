"""Centring of keys or values: aligned to the head's exponent, less the mean, rotated: see golden.prepare.centred."""

from __future__ import annotations

from amaranth.hdl import Module, ShapeLike, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from golden.formats import FORMATS
from rtl import layouts
from rtl.align import mantissa
from rtl.rotate import STAGES_PER_CYCLE, Rotate, rotation_cycles, vector
from rtl.streams import delay, flow

TAG: ShapeLike = data.StructLayout({"last": 1})


def centred_row(config: Config) -> data.StructLayout:
    """One row, centred and rotated."""
    return data.StructLayout({"vector": data.ArrayLayout(signed(config.rotated_bits), config.head_dim), "last": 1})


class Centre(wiring.Component):
    """i: `layouts.row`, o: `centred_row`. One row every `cycles` cycles, those of its `Rotate`; `latency` = cycles + 3.

    `exponent`, no smaller than any element's own, and `mean` must be stable while rows are under way. A row is aligned,
    loses the mean, is rotated, and is shifted and rounded.
    """

    def __init__(self, config: Config, stages_per_cycle: int = STAGES_PER_CYCLE) -> None:
        self.config, self.stages_per_cycle = config, stages_per_cycle
        self.cycles = rotation_cycles(config, stages_per_cycle)
        self.latency = 2 + self.cycles + 1
        super().__init__(
            {
                "i": In(stream.Signature(layouts.row(config))),
                "exponent": In(FORMATS[config.float_format].exponent_bits),
                "mean": In(layouts.mean(config)),
                "o": Out(stream.Signature(centred_row(config))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config, form = self.config, FORMATS[self.config.float_format]
        m.submodules.rotate = rotate = Rotate(config, config.centred_bits, TAG, self.stages_per_cycle)
        centred = stream.Signature(vector(config, config.centred_bits, TAG)).create()
        wiring.connect(m, centred, rotate.i)

        advance = flow(m, self.i.valid, centred, 2)
        m.d.comb += [
            self.i.ready.eq(advance),
            centred.payload.tag.last.eq(delay(m, advance, self.i.payload.last, 2, "last")),
        ]
        for n, element in enumerate(self.i.payload.elements):
            aligned = Signal(signed(config.input_bits), name=f"aligned_{n}", reset_less=True)
            with m.If(advance):
                m.d.sync += [
                    aligned.eq(mantissa(m, form, config.input_bits, element, self.exponent, n)),
                    centred.payload.vector[n].eq(aligned - self.mean[n]),
                ]

        leave = flow(m, rotate.o.valid, self.o, 1)
        m.d.comb += rotate.o.ready.eq(leave)
        half = 1 << config.rotation_shift >> 1
        with m.If(leave):
            m.d.sync += self.o.payload.last.eq(rotate.o.payload.tag.last)
            for out, rotated in zip(self.o.payload.vector, rotate.o.payload.vector, strict=True):
                m.d.sync += out.eq((rotated + half) >> config.rotation_shift)
        return m
