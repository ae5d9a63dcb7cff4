"""Lane packing: the tokens of a key tile, each at its tier, become lane groups that never collide in a bank.

Lane i takes tokens i, i + lanes, ... of the tile, the highest tier first. See golden.group for the exact order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config, Tier
from rtl import layouts


def tiered(config: Config) -> data.StructLayout:
    """One token of a key tile; `last` ends the tile, `final` says with it that the tile is the query tile's last."""
    return data.StructLayout(
        {
            "tier": config.tier_bits,
            "shown": 1,  # others take no part
            "last": 1,
            "final": 1,
        }
    )


def highest(m: Module, numbers: Sequence[Value], name: str) -> tuple[Value, Value]:
    """The highest of some unsigned numbers, and which of them are as high."""
    top: list[Value] = []
    alike: Value = Const(-1, len(numbers))
    for bit in reversed(range(len(numbers[0]))):
        plane = Cat(number[bit] for number in numbers)
        found, still = Signal(name=f"{name}_top_{bit}"), Signal(len(numbers), name=f"{name}_alike_{bit}")
        m.d.comb += [found.eq((plane & alike).any()), still.eq(alike & ~(plane ^ found.replicate(len(plane))))]
        top, alike = [found, *top], still
    return Cat(top), alike


def first(marks: Value) -> Value:
    """The lowest of the bits that are set, alone."""
    return Cat(mark & ~marks[:n].any() for n, mark in enumerate(marks))


def chosen(marks: Value, values: Iterable[Value]) -> Value:
    """The value that is marked; zero if none is."""
    found: Value = Const(0)
    for mark, value in zip(marks, values, strict=True):
        found = found | (value & mark.replicate(len(value)))
    return found


class Group(wiring.Component):
    """Streams: `i`, the tokens of every key tile in order, 1 to config.tile; `o`, its lane groups, 1 to tile / lanes.

    A tile's first group is there two cycles after its last token was taken, or in the cycle after the last group of the
    tile before left, whichever is later; then there is one per cycle. Tokens enter one per cycle, also from tile to
    tile, while the groups of the tile before leave. Only behind a complete tile the next one waits for the last of
    these groups: without stalls, where a tile has fewer tokens than the one before has groups.
    """

    latency = 2

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({"i": In(stream.Signature(tiered(config))), "o": Out(stream.Signature(layouts.group(config)))})

    def elaborate(self, platform) -> Module:
        m = Module()
        config, group = self.config, self.o.payload
        # A token's rank is its tier, counted from one. Zero: it is hidden, or not there, or has left.
        loading, leaving = (
            [Signal(range(len(Tier) + 1), name=f"{name}_{n}", reset_less=True) for n in range(config.tile)]
            for name in ("loading", "leaving")
        )
        loaded, last, move = Signal(), Signal(), Signal()
        sent = self.o.valid & self.o.ready
        m.d.comb += [move.eq(loaded & (~self.o.valid | (sent & last))), group.last.eq(last)]
        self.load(m, loading, loaded, move)

        with m.If(move):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(sent & last):
            m.d.sync += self.o.valid.eq(0)

        tops, tokens, left = [], [], []
        for lane in range(config.lanes):
            column = range(lane, config.tile, config.lanes)
            top, alike = highest(m, [leaving[n] for n in column], f"lane_{lane}")
            pick, token = Signal(len(column), name=f"pick_{lane}"), Signal(config.token_bits, name=f"token_{lane}")
            m.d.comb += [pick.eq(first(alike)), token.eq(chosen(pick, (Const(n, config.token_bits) for n in column)))]
            for n, picked in zip(column, pick, strict=True):
                left.append(leaving[n].any() & ~picked)
                # In this order the two become synchronous reset and enable of the registers.
                with m.If(sent & ~last & picked):
                    m.d.sync += leaving[n].eq(0)
                with m.Elif(move):
                    m.d.sync += leaving[n].eq(loading[n])
            tops.append(top)
            tokens.append(token)

        top, _ = highest(m, tops, "group")
        active, spare = Signal(config.lanes), Signal(config.token_bits)
        m.d.comb += [
            last.eq(~Cat(left).any()),
            active.eq(Cat(each.any() for each in tops)),
            spare.eq(chosen(first(active), tokens)),
            group.tier.eq(Mux(top.any(), top - 1, 0)),
            group.active.eq(active),
        ]
        for lane, token in enumerate(tokens):
            m.d.comb += group.tokens[lane].eq(Mux(active[lane], token, spare))
        return m

    def load(self, m: Module, loading: Sequence[Signal], loaded: Signal, move: Signal) -> None:
        """Puts the ranks of a tile's tokens in their places; `loaded` until they `move` on, and `final` with them."""
        config, token = self.config, self.i.payload
        taken = self.i.valid & self.i.ready
        final = Signal()
        m.d.comb += self.i.ready.eq(~loaded | move)
        with m.If(move):
            m.d.sync += [loaded.eq(0), self.o.payload.final.eq(final)]
        with m.If(taken & token.last):
            m.d.sync += [loaded.eq(1), final.eq(token.final)]

        # Where the next token goes, a bit for each lane and for each of its places.
        lane, row = Signal(config.lanes, init=1), Signal(config.tile // config.lanes, init=1)
        with m.If(taken & token.last):
            m.d.sync += [lane.eq(1), row.eq(1)]
        with m.Elif(taken):
            m.d.sync += lane.eq(lane.rotate_left(1))
            with m.If(lane[-1]):
                m.d.sync += row.eq(row.rotate_left(1))

        rank = Mux(token.shown, token.tier + 1, 0)
        begins = taken & lane[0] & row[0]
        for n, held in enumerate(loading):
            with m.If(begins):
                m.d.sync += held.eq(rank if n == 0 else 0)  # the tile before is forgotten
            with m.Elif(taken & lane[n % config.lanes] & row[n // config.lanes]):
                m.d.sync += held.eq(rank)
