"""Reuse of rows: which query rows of a head are computed, and whose result the others take. See golden.match.

i --+--------------> [waiting] --+--> Match ----------------+--> decision --+--> o
    |                            |                          |               |
    +-> [table] --> request      +------------> [judging] --+               +--> reused
           ^        reference ---+                                          |
           +----------------------------------------------------------------+
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from rtl import layouts
from rtl.head import shape
from rtl.match import Match, pair
from rtl.places import Places
from rtl.streams import Fork

WAITING = 8
"""Rows that wait for their references, which hides the latency of memory."""


def position(config: Config) -> data.StructLayout:
    """Where a row stands: what `Compact` needs of it."""
    return data.StructLayout(
        {
            "cell_end": 1,  # the last row of its cell
            "tile_end": 1,  # of its query tile
            "tile_frame": config.frame_bits,  # in which its tile begins: 0 for text, else counted from 1
            "frame": config.frame_bits,  # its own
        }
    )


def decided(config: Config) -> data.StructLayout:
    """A row, where it stands, and whether it is computed, as it is `kept`; `last` ends the head."""
    elements = layouts.row(config)["elements"].shape
    return data.StructLayout({"row": elements, "kept": 1, "place": position(config), "last": 1})


def request(config: Config) -> data.StructLayout:
    """A row that memory is to send: that of a place of a frame, counted from 0, and the frame, counted from 1."""
    return data.StructLayout({"frame": config.frame_bits, "place": config.place_bits})


def reused(config: Config) -> data.StructLayout:
    """Whether a row takes the result of the row at its place of `frame`, else its own frame; `last` ends the head."""
    return data.StructLayout({"frame": config.frame_bits, "reused": 1, "last": 1})


def entry(config: Config) -> data.StructLayout:
    """A row under way: its number in its frame, and the frame of its reference, if it has one."""
    return data.StructLayout(
        {
            "row": layouts.row(config),
            "place": position(config),
            "index": config.place_bits,
            "reference": config.frame_bits,
        }
    )


class Reuse(wiring.Component):
    """Streams: `head`, a word for every head, taken with the decision about its last row; `i`, its rows in tile order;
    `request` and `reference`, the rows that memory is asked for and its answers, in order; `o` and `reused`, every row
    and what becomes of it.

    A row is compared with the last computed one at its place; rows of text and of the first frame have none. A row
    takes head_dim / channels cycles, as in Match, if memory answers while WAITING - 1 others are taken. It asks in the
    cycle in which it is taken, for which the row before it at its place must be decided: frames of few tokens take
    longer, and a head begins when the one before has ended. Latency: Match.latency from the reference to o, and
    `latency` from i to o for a row without one.
    """

    latency = 4

    def __init__(self, config: Config) -> None:
        self.config = config
        self.match = Match(config)
        super().__init__(
            {
                "head": In(stream.Signature(shape(config))),
                "i": In(stream.Signature(layouts.row(config))),
                "request": Out(stream.Signature(request(config))),
                "reference": In(stream.Signature(pair(config)["reference"].shape)),
                "o": Out(stream.Signature(decided(config))),
                "reused": Out(stream.Signature(reused(config))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config, match = self.config, self.match
        under_way = -(-match.latency // match.chunks) + 1
        m.submodules.match = match
        m.submodules.waiting = waiting = fifo.SyncFIFOBuffered(width=entry(config).size, depth=WAITING)
        m.submodules.judging = judging = fifo.SyncFIFOBuffered(width=entry(config).size, depth=under_way + 1)
        m.submodules.table = table = memory.Memory(shape=config.frame_bits, depth=config.max_tokens, init=[])
        decides = self.decide(m, judging, table.write_port())
        self.enter(m, waiting, table.read_port(), decides, waiting.depth + judging.depth)

        # A row that has a reference waits for it and is matched; the others only stay in order.
        here, ready = data.View(entry(config), waiting.r_data), waiting.r_rdy & judging.w_rdy
        refers, passes = here.place.frame > 1, Signal()
        m.d.comb += [
            match.i.payload.row.eq(here.row.elements),
            match.i.payload.reference.eq(self.reference.payload),
            match.i.valid.eq(ready & refers & self.reference.valid),
            self.reference.ready.eq(ready & refers & match.i.ready),
            passes.eq(ready & (~refers | (self.reference.valid & match.i.ready))),
            waiting.r_en.eq(passes),
            judging.w_en.eq(passes),
            judging.w_data.eq(waiting.r_data),
        ]
        return m

    def enter(self, m: Module, waiting: fifo.SyncFIFOBuffered, read, decides: Value, most: int) -> None:
        """Rows go into the queue, each with the frame of its reference, which it asks for at the same time.

        The table is read a cycle ahead, for the row that comes next; what it says is `known` once the row before at
        that place is decided: rows under way, `most` of them, are fewer than a frame has.
        """
        config = self.config
        m.submodules.places = places = Places(config, config.query_rows)
        refers, allowed, taken = places.own_frame > 1, Signal(), Signal()
        under_way, known, ended = Signal(range(most + 1)), Signal(), Signal()
        m.d.comb += [
            places.step.eq(taken),
            places.last.eq(self.i.payload.last),
            places.tokens.eq(self.head.payload),
            read.addr.eq(places.next_index),
            allowed.eq(self.head.valid & ~ended & waiting.w_rdy & (~refers | known)),
            self.request.valid.eq(self.i.valid & allowed & refers),
            self.request.payload.frame.eq(read.data),
            self.request.payload.place.eq(places.index),
            self.i.ready.eq(allowed & (~refers | self.request.ready)),
            taken.eq(self.i.valid & self.i.ready),
        ]
        m.d.sync += [
            under_way.eq(under_way + taken - decides),
            known.eq(under_way + taken < self.head.payload.frame_tokens),
        ]
        with m.If(taken & self.i.payload.last):
            m.d.sync += ended.eq(1)
        with m.If(self.head.ready):
            m.d.sync += ended.eq(0)

        entering = data.View(entry(config), waiting.w_data)
        m.d.comb += [
            waiting.w_en.eq(taken),
            entering.row.eq(self.i.payload),
            entering.place.cell_end.eq(places.here.cell_end),
            entering.place.tile_end.eq(places.here.tile_end),
            entering.place.tile_frame.eq(places.here.frame),
            entering.place.frame.eq(places.own_frame),
            entering.index.eq(places.index),
            entering.reference.eq(read.data),
        ]

    def decide(self, m: Module, judging: fifo.SyncFIFOBuffered, write) -> Signal:
        """Rows leave the queue, each once it was matched, and computed ones are references from now on.

        Returns whether one does.
        """
        config, match = self.config, self.match
        m.submodules.fork = fork = Fork(data.StructLayout({"row": decided(config), "reused": reused(config)}), 2)
        here, row, told = data.View(entry(config), judging.r_data), fork.i.payload.row, fork.i.payload.reused
        refers, near, decides = here.place.frame > 1, Signal(), Signal()
        m.d.comb += [
            near.eq(refers & match.o.payload.near),
            row.row.eq(here.row.elements),
            row.kept.eq(~near),
            row.place.eq(here.place),
            row.last.eq(here.row.last),
            told.frame.eq(Mux(near, here.reference, here.place.frame)),
            told.reused.eq(near),
            told.last.eq(here.row.last),
            fork.i.valid.eq(judging.r_rdy & (~refers | match.o.valid)),
            decides.eq(fork.i.valid & fork.i.ready),
            judging.r_en.eq(decides),
            match.o.ready.eq(decides & refers),
            self.head.ready.eq(decides & here.row.last),
            write.en.eq(decides & ~near & (here.place.frame != 0)),
            write.addr.eq(here.index),
            write.data.eq(here.place.frame),
        ]
        for o, taken, name in ((self.o, fork.o[0], "row"), (self.reused, fork.o[1], "reused")):
            m.d.comb += [
                o.valid.eq(taken.valid),
                Value.cast(o.payload).eq(Value.cast(taken.payload[name])),
                taken.ready.eq(o.ready),
            ]
        return decides
