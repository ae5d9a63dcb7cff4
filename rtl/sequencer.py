"""The sequencer: turns a query tile, a key tile and its lane groups into beats, one pass per cycle.

In which order, and what a beat says of its place in it, is declared: see golden.control.
"""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config, Tier
from golden.control import EVENTS, LOOPS
from rtl import layouts
from rtl.loops import Loops
from rtl.streams import Slots, slot_of

GROUP_SLOTS = 2
"""Lists of lane groups held: one is worked on while the next is loaded."""


class Sequencer(wiring.Component):
    """Streams: `group`, the lane groups of every key tile, whose producer decides what meets whom and how exactly;
    `query` and `key`, slots of tiles that are complete; `o`, beats.

    A key tile is taken once its list of groups is complete. A query tile stays for all key tiles up to the one whose
    list is `final`. Without stalls there is a beat in every cycle, also from one tile to the next, provided that the
    next list of groups is complete by then; else the first one comes `latency` cycles after the list's last group.
    """

    latency = 2

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "group": In(stream.Signature(layouts.group(config))),
                "query": In(stream.Signature(slot_of(layouts.QUERY_SLOTS, config.row_bits))),
                "key": In(stream.Signature(slot_of(config.tile_slots, 0))),
                "o": Out(stream.Signature(layouts.beat(config))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        listing = data.StructLayout({"last_group": range(config.max_groups), "final": 1})
        m.submodules.lists = lists = Slots(GROUP_SLOTS, listing)
        listed = self.store_groups(m, lists)

        # What is being worked on: a key tile (`active`) under a query tile (`resident`).
        active, resident, first = Signal(), Signal(), Signal()
        query_slot, last_row = Signal.like(self.query.payload.slot), Signal.like(self.query.payload.meta)
        key_slot, list_slot = Signal.like(self.key.payload.slot), Signal.like(lists.tile.payload.slot)
        last_group, final = Signal(range(config.max_groups)), Signal()

        m.submodules.loops = loops = Loops(config, LOOPS, EVENTS)
        at, now, current = loops.at, loops.now, Signal(layouts.group(config))
        taken = self.o.valid & self.o.ready
        m.d.comb += [
            Value.cast(current).eq(listed(Cat(list_slot, at.group))),
            loops.outer.key_tile.first.eq(first),
            loops.outer.key_tile.last.eq(final),
            loops.limit.row.eq(last_row),
            loops.limit.group.eq(last_group),
            loops.limit.digit.eq(Array(config.passes(tier) - 1 for tier in Tier)[current.tier]),
            loops.step.eq(taken),
        ]
        done = taken & now.tile_end
        # The next tiles are taken while the last beat leaves, so that no cycle is lost.
        wants_query = ~resident | (done & final)
        load = Signal()
        m.d.comb += [
            load.eq((~active | done) & self.key.valid & lists.tile.valid & (~wants_query | self.query.valid)),
            self.key.ready.eq(load),
            lists.tile.ready.eq(load),
            self.query.ready.eq(load & wants_query),
            lists.release.eq(done),
        ]
        with m.If(done):
            m.d.sync += [active.eq(0), resident.eq(~final), first.eq(final)]
        with m.If(load):
            m.d.sync += [
                active.eq(1),
                resident.eq(1),
                first.eq(wants_query),
                key_slot.eq(self.key.payload.slot),
                list_slot.eq(lists.tile.payload.slot),
                last_group.eq(lists.tile.payload.meta.last_group),
                final.eq(lists.tile.payload.meta.final),
            ]
            with m.If(wants_query):
                m.d.sync += [query_slot.eq(self.query.payload.slot), last_row.eq(self.query.payload.meta)]

        beat = self.o.payload
        m.d.comb += [
            self.o.valid.eq(active),
            beat.tokens.eq(current.tokens),
            beat.active.eq(current.active),
            beat.digit.eq(at.digit),
            beat.whole.eq(current.tier == Tier.FULL),
            beat.visit.row.eq(at.row),
            *(beat.visit[name].eq(now[name]) for name in ("start", "end", "first", "final")),
            *(beat[name].eq(now[name]) for name in ("last_digit", "row_end", "tile_end", "query_end")),
            beat.tile_slot.eq(key_slot),
            beat.query_slot.eq(query_slot),
        ]
        return m

    def store_groups(self, m: Module, lists: Slots) -> Callable[[Value], Value]:
        """Writes the incoming groups into a list; returns the look-up of a group by slot and index."""
        count = Signal(range(self.config.max_groups))
        depth = GROUP_SLOTS << len(count)
        m.submodules.groups = groups = memory.Memory(shape=layouts.group(self.config).size, depth=depth, init=[])
        read, write = groups.read_port(domain="comb"), groups.write_port()
        incoming = self.group.payload
        taken = self.group.valid & self.group.ready
        m.d.comb += [
            self.group.ready.eq(lists.free),
            write.en.eq(taken),
            write.addr.eq(Cat(lists.write_slot, count)),
            write.data.eq(Value.cast(incoming)),
            lists.filled.eq(taken & incoming.last),
            lists.meta.last_group.eq(count),
            lists.meta.final.eq(incoming.final),
        ]
        with m.If(taken):
            m.d.sync += count.eq(Mux(incoming.last, 0, count + 1))

        def listed(address: Value) -> Value:
            m.d.comb += read.addr.eq(address)
            return read.data

        return listed
