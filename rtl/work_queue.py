"""The work queue: query tiles of one head after the other, each for the next core that is free."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from rtl.head import head, job, measured
from rtl.places import placed


class WorkQueue(wiring.Component):
    """Streams: `head` and `measured`, a word of each for every head; `query`, its rows with their places; for each core
    `job`, a word for every query tile that it is given, and `rows`, the tile's.

    Cores that wait are served in turn. A tile takes two cycles besides its rows, up to `cores` to find who waits, and
    one more where a head begins.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "head": In(stream.Signature(head(config))),
                "measured": In(stream.Signature(measured(config))),
                "query": In(stream.Signature(placed(config))),
                "job": Out(stream.Signature(job(config))).array(config.cores),
                "rows": Out(stream.Signature(placed(config))).array(config.cores),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        given, turn, core = Signal(job(self.config)), Signal(range(self.config.cores)), Signal(range(self.config.cores))
        place, taken = self.query.payload.place, self.query.valid & self.query.ready
        for asked, rows in zip(self.job, self.rows, strict=True):
            m.d.comb += [
                Value.cast(asked.payload).eq(Value.cast(given)),
                Value.cast(rows.payload).eq(Value.cast(self.query.payload)),
            ]
        with m.FSM():
            with m.State("head"):
                begin = self.head.valid & self.measured.valid
                m.d.comb += [self.head.ready.eq(begin), self.measured.ready.eq(begin)]
                with m.If(begin):
                    m.d.sync += [
                        Value.cast(given.head).eq(Value.cast(self.head.payload)),
                        Value.cast(given.measured).eq(Value.cast(self.measured.payload)),
                    ]
                    m.next = "core"
            with m.State("core"):
                # Who is ready stays so: the choice may be kept for a cycle, and `valid` need not look at `ready`.
                free = Array(asked.ready for asked in self.job)
                with m.If(self.query.valid):
                    m.d.sync += turn.eq(Mux(turn == self.config.cores - 1, 0, turn + 1))
                    with m.If(free[turn]):
                        m.d.sync += core.eq(turn)
                        m.next = "job"
            with m.State("job"):
                m.d.comb += Array(asked.valid for asked in self.job)[core].eq(1)
                with m.If(Array(asked.ready for asked in self.job)[core]):
                    m.next = "rows"
            with m.State("rows"):
                m.d.comb += [
                    Array(rows.valid for rows in self.rows)[core].eq(self.query.valid),
                    self.query.ready.eq(Array(rows.ready for rows in self.rows)[core]),
                ]
                with m.If(taken):
                    m.d.sync += given.first.eq(Mux(place.last, 0, given.first + 1))
                    with m.If(place.last):
                        m.d.sync += given.number.eq(given.number + 1)
                        m.next = "head"
                    with m.Elif(place.tile_end):
                        m.next = "core"
        return m
