"""One core behind the work queue: query tiles in, each speculated while the one before is computed; rows out.

query ---> speculate -> tier_buffer -> group ----> core -> restore -> output
pooled --> +                           token ----> +
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.config import Config
from golden.formats import FORMATS
from rtl import layouts
from rtl.core import Core
from rtl.counters import counters
from rtl.group import Group
from rtl.head import job, pooled, result
from rtl.library import Named
from rtl.places import placed
from rtl.restore import Restore
from rtl.speculate import Speculate
from rtl.streams import Fork, queue
from rtl.tier_buffer import TierBuffer

JOBS = layouts.QUERY_SLOTS + 2
"""Query tiles that are at work in a core, or leave it, at most."""


def leaving(config: Config) -> data.StructLayout:
    """What of a job its output rows need."""
    return data.StructLayout(
        {
            "value_mean": layouts.mean(config),
            "value_exponent": FORMATS[config.float_format].exponent_bits,
            "number": config.head_number_bits,
            "first": config.place_bits,
        }
    )


class Worker(wiring.Component):
    """Streams
    -------
    job, query : a word for every query tile, and its rows, rotated, with their places.
    fetch : for every job the number of its head, whose `pooled` and `token` the memory is to send.
    pooled : the means of all key tiles and then of all key cells of the head.
    token : all its prepared tokens.
    output : `rtl.head.result`, a row for every query row, in order.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "job": In(stream.Signature(job(config))),
                "query": In(stream.Signature(placed(config))),
                "pooled": In(stream.Signature(pooled(config))),
                "token": In(stream.Signature(layouts.token(config))),
                "fetch": Out(stream.Signature(config.head_number_bits)),
                "output": Out(stream.Signature(result(config))),
                "counters": Out(counters(config)),
                "clear": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        speculate, tier_buffer, group = Speculate(config), TierBuffer(config), Group(config)
        core, restore = Core(config), Restore(config)
        parts = {
            "speculate": speculate,
            "tier_buffer": tier_buffer,
            "group": group,
            "core": core,
            "restore": restore,
        }
        for name, component in parts.items():
            m.submodules[name] = Named(component, name)
        m.submodules.jobs = jobs = Fork(job(config), 3)
        # Whoever waits for a place in the core would keep a tile from others that are free.
        held = Signal(range(layouts.QUERY_SLOTS + 1))
        free, taken = held != layouts.QUERY_SLOTS, self.job.valid & self.job.ready
        m.d.sync += held.eq(held + taken - core.released)
        m.d.comb += [
            jobs.i.valid.eq(self.job.valid & free),
            self.job.ready.eq(jobs.i.ready & free),
            Value.cast(jobs.i.payload).eq(Value.cast(self.job.payload)),
        ]
        connect(m, jobs.o[0], speculate.job)
        m.d.comb += [
            self.fetch.valid.eq(jobs.o[1].valid),
            jobs.o[1].ready.eq(self.fetch.ready),
            self.fetch.payload.eq(jobs.o[1].payload.number),
        ]
        connect(m, flipped(self.query), speculate.query)
        connect(m, flipped(self.pooled), speculate.pooled)
        connect(m, speculate.judged, tier_buffer.i)
        connect(m, tier_buffer.o, group.i)
        connect(m, group.o, core.group)
        connect(m, speculate.rows, core.query)
        connect(m, flipped(self.token), core.token)
        m.d.comb += [self.counters.eq(core.counters), core.clear.eq(self.clear)]
        self.restore_rows(m, core, restore, jobs.o[2])
        return m

    def restore_rows(self, m: Module, core: Core, restore: Restore, jobs) -> None:
        """Rows leave the core in bursts, at the last key tile: they wait for `restore`, each for its head's mean."""
        config = self.config
        known = stream.Signature(leaving(config)).create(path=("known",))
        waiting = stream.Signature(leaving(config)).create(path=("leaving",))
        m.d.comb += [
            known.valid.eq(jobs.valid),
            jobs.ready.eq(known.ready),
            Value.cast(known.payload.value_mean).eq(Value.cast(jobs.payload.measured.value_mean)),
            known.payload.value_exponent.eq(jobs.payload.measured.value_exponent),
            known.payload.number.eq(jobs.payload.number),
            known.payload.first.eq(jobs.payload.first),
        ]
        queue(m, "leaving", known, waiting, JOBS)

        # How many rows a tile has is known before the first of them leaves the core.
        last_row = Signal(config.row_bits)
        m.submodules.last_rows = last_rows = fifo.SyncFIFO(width=config.row_bits, depth=JOBS + 1)
        entering, tile_end = self.query.valid & self.query.ready, self.query.payload.place.tile_end
        m.d.comb += [last_rows.w_data.eq(last_row), last_rows.w_en.eq(entering & tile_end)]
        with m.If(entering):
            m.d.sync += last_row.eq(Mux(tile_end, 0, last_row + 1))

        row, last = Signal(config.row_bits), Signal()
        width = layouts.output(config).size
        m.submodules.outputs = outputs = fifo.SyncFIFOBuffered(width=width + 1, depth=config.query_rows)
        stored = core.output.valid & core.output.ready
        m.d.comb += [
            last.eq(row == last_rows.r_data),
            outputs.w_data.eq(Cat(Value.cast(core.output.payload), last)),
            outputs.w_en.eq(core.output.valid),
            core.output.ready.eq(outputs.w_rdy),
            last_rows.r_en.eq(stored & last),
        ]
        with m.If(stored):
            m.d.sync += row.eq(Mux(last, 0, row + 1))
        at_work, loaded, ended = Signal(leaving(config)), Signal(), Signal()
        left = Signal(config.row_bits)
        taken, sent = restore.i.valid & restore.i.ready, self.output.valid & self.output.ready
        m.d.comb += [
            waiting.ready.eq(~loaded),
            restore.i.valid.eq(outputs.r_rdy & loaded & ~ended),
            outputs.r_en.eq(taken),
            Cat(Value.cast(restore.i.payload.elements), restore.i.payload.last).eq(outputs.r_data),
            Value.cast(restore.mean).eq(Value.cast(at_work.value_mean)),
            restore.mean_exponent.eq(at_work.value_exponent),
            self.output.valid.eq(restore.o.valid),
            restore.o.ready.eq(self.output.ready),
            Value.cast(self.output.payload.elements).eq(Value.cast(restore.o.payload.elements)),
            self.output.payload.number.eq(at_work.number),
            self.output.payload.row.eq(at_work.first + left),
            self.output.payload.last.eq(restore.o.payload.last),
        ]
        with m.If(waiting.valid & waiting.ready):
            m.d.sync += [loaded.eq(1), ended.eq(0), Value.cast(at_work).eq(Value.cast(waiting.payload))]
        with m.If(taken):
            m.d.sync += ended.eq(restore.i.payload.last)
        with m.If(sent):
            m.d.sync += left.eq(Mux(restore.o.payload.last, 0, left + 1))
            with m.If(restore.o.payload.last):
                m.d.sync += loaded.eq(0)
