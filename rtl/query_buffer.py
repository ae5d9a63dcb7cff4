"""The query buffer: the resident query tile, and the next one that is being loaded."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from rtl import layouts
from rtl.streams import Slots, flow, slot_of


class QueryBuffer(wiring.Component):
    """Streams: `i`, aligned rows; `tile`, slot and last row of every tile that is complete; `beats`, those of the
    sequencer; `o`, operands of the KeyMultiplier, one for every row visit.

    Writing takes one row per cycle while a slot is free. A row comes out one cycle after the beat that starts its
    visit; all other beats are only taken. The slot is free again with the tile's last visit, when `released` is high.
    """

    latency = 1

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(layouts.aligned(config))),
                "tile": Out(stream.Signature(slot_of(layouts.QUERY_SLOTS, config.row_bits))),
                "beats": In(stream.Signature(layouts.beat(config))),
                "o": Out(stream.Signature(layouts.key_operand(config))),
                "released": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.slots = slots = Slots(layouts.QUERY_SLOTS, self.config.row_bits)
        wiring.connect(m, slots.tile, wiring.flipped(self.tile))
        layout = self.o.payload.shape()
        depth = layouts.QUERY_SLOTS << self.config.row_bits
        # Wide and shallow: tools would take LUT RAM, which small FPGAs have less of.
        block = {"ram_style": "block"}
        m.submodules.rows = rows = memory.Memory(shape=layout.size, depth=depth, init=[], attrs=block)
        read, write = rows.read_port(), rows.write_port()

        row = Signal(self.config.row_bits)
        taken = self.i.valid & self.i.ready
        m.d.comb += [
            self.i.ready.eq(slots.free),
            write.en.eq(taken),
            write.addr.eq(Cat(row, slots.write_slot)),
            write.data.eq(Cat(Value.cast(self.i.payload.mantissa), Value.cast(self.i.payload.tag))),
            slots.filled.eq(taken & self.i.payload.last),
            slots.meta.eq(row),
        ]
        with m.If(taken):
            m.d.sync += row.eq(Mux(self.i.payload.last, 0, row + 1))

        beat = self.beats.payload
        starts = beat.visit.start & (beat.digit == 0)
        advance = flow(m, self.beats.valid & starts, self.o, self.latency)
        m.d.comb += [
            self.beats.ready.eq(~starts | advance),
            read.en.eq(advance),
            read.addr.eq(Cat(beat.visit.row, beat.query_slot)),
            Value.cast(self.o.payload).eq(read.data),
            slots.release.eq(self.released),
            self.released.eq(self.beats.valid & self.beats.ready & starts & beat.query_end),
        ]
        return m
