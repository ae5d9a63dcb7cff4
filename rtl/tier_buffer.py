"""The tier buffer: the tiers of a query tile's pieces wait until the core is there, and become tokens to be grouped."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from rtl import layouts
from rtl.group import tiered
from rtl.streams import Slots


def judged(config: Config) -> data.StructLayout:
    """The tier of a piece; the last one of a query tile says how many tokens all pieces have."""
    return data.StructLayout({"tier": config.tier_bits, "tokens": config.place_bits, "last": 1})


class TierBuffer(wiring.Component):
    """i: `judged`, the pieces of the keys in order, for one query tile after the other; o: `tiered`, their tokens. It
    holds as many query tiles as the core.

    A piece or a token per cycle; a query tile leaves once it is complete. Latency 3 from its last piece.
    """

    latency = 3

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({"i": In(stream.Signature(judged(config))), "o": Out(stream.Signature(tiered(config)))})

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        m.submodules.slots = slots = Slots(layouts.QUERY_SLOTS, config.place_bits)
        pieces = -(-config.max_tokens // config.piece)
        piece = Signal(range(pieces))
        depth = layouts.QUERY_SLOTS << len(piece)
        m.submodules.tiers = tiers = memory.Memory(shape=config.tier_bits, depth=depth, init=[])
        write, read = tiers.write_port(), tiers.read_port()

        taken = self.i.valid & self.i.ready
        m.d.comb += [
            self.i.ready.eq(slots.free),
            write.en.eq(taken),
            write.addr.eq(Cat(piece, slots.write_slot)),
            write.data.eq(self.i.payload.tier),
            slots.filled.eq(taken & self.i.payload.last),
            slots.meta.eq(self.i.payload.tokens),
        ]
        with m.If(taken):
            m.d.sync += piece.eq(Mux(self.i.payload.last, 0, piece + 1))

        # The tier of the next piece is read while the tokens of this one leave: a piece has at least two.
        active, priming, left = Signal(), Signal(), Signal(config.place_bits)
        in_piece, in_tile = Signal(range(config.piece)), Signal(range(config.tile))
        ahead, slot, tier = Signal.like(piece), Signal.like(slots.write_slot), Signal(config.tier_bits)
        sent = self.o.valid & self.o.ready
        piece_end, tile_end, end = in_piece == config.piece - 1, in_tile == config.tile - 1, left == 1
        load = slots.tile.valid & ~active & ~priming
        m.d.comb += [
            slots.tile.ready.eq(load),
            slots.release.eq(sent & end),
            read.en.eq(load | (in_piece == 0)),
            read.addr.eq(Mux(load, Cat(Const(0, len(piece)), slots.tile.payload.slot), Cat(ahead, slot))),
            self.o.valid.eq(active),
            self.o.payload.tier.eq(tier),
            self.o.payload.shown.eq(1),
            self.o.payload.last.eq(tile_end | end),
            self.o.payload.final.eq(end),  # what matters is the last token of a tile
        ]
        m.d.sync += priming.eq(load)
        with m.If(load):
            m.d.sync += [slot.eq(slots.tile.payload.slot), left.eq(slots.tile.payload.meta), ahead.eq(1)]
        with m.If(priming):
            m.d.sync += [tier.eq(read.data), active.eq(1)]
        with m.If(sent):
            m.d.sync += [
                left.eq(left - 1),
                in_piece.eq(Mux(piece_end | end, 0, in_piece + 1)),
                in_tile.eq(Mux(tile_end | end, 0, in_tile + 1)),
            ]
            with m.If(piece_end):
                m.d.sync += [tier.eq(read.data), ahead.eq(ahead + 1)]
            with m.If(end):
                m.d.sync += active.eq(0)
        return m
