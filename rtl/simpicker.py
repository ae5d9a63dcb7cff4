"""The complete core: raw queries, keys and values in, attention out. See golden.layer.

key, value -> prepare -> (memory) -> token ------------------------> core -> restore -> output
                 +-----> (memory) -> pooled -> speculate -> group ---> |
query -> prepare_query ------------------------> +---------------------+

The memory is outside: what is written to `prepared`, `tiles` and `cells` comes back once for every query tile.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.config import Config
from rtl import layouts
from rtl.core import Core
from rtl.group import Group
from rtl.head import head, measured, pooled, prepared
from rtl.library import Named
from rtl.prepare import Prepare
from rtl.prepare_query import PrepareQuery
from rtl.restore import Restore
from rtl.speculate import Speculate
from rtl.streams import Fork, queue
from rtl.tier_buffer import TierBuffer

HEADS = 2
"""Heads that may be under way: one is computed while the next is prepared."""


class Simpicker(wiring.Component):
    """Attention of whole heads, one after the other without a gap.

    Streams
    -------
    head : `rtl.head.head`, one word for every head.
    key, value : `rtl.head.row`, all rows of a head in tile order, twice: first they are measured, then prepared.
    query : `rtl.head.row`, all rows of a head in tile order.
    prepared, tiles, cells : what the memory is to keep of a head: its tokens, and the means of key tiles and cells.
    pooled : all `tiles` and then all `cells` of a head, again for every query tile.
    token : all tokens of `prepared`, again for every query tile.
    output : `rtl.head.row`, a row of FP16 numbers for every query row, in order.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.parts = {
            "prepare": Prepare(config),
            "prepare_query": PrepareQuery(config, config.output_lanes),
            "speculate": Speculate(config),
            "tier_buffer": TierBuffer(config),
            "group": Group(config),
            "core": Core(config),
            "restore": Restore(config, config.output_lanes),
        }
        super().__init__(
            {
                "head": In(stream.Signature(head(config))),
                "key": In(stream.Signature(layouts.row(config))),
                "value": In(stream.Signature(layouts.row(config))),
                "query": In(stream.Signature(layouts.row(config))),
                "pooled": In(stream.Signature(pooled(config))),
                "token": In(stream.Signature(layouts.token(config))),
                "prepared": Out(stream.Signature(prepared(config))),
                "tiles": Out(stream.Signature(pooled(config))),
                "cells": Out(stream.Signature(pooled(config))),
                "output": Out(self.parts["restore"].o.signature),
                "counters": Out(self.parts["core"].counters.shape()),
                "clear": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        for name, component in self.parts.items():
            m.submodules[name] = Named(component, name)
        prepare, prepare_query, speculate, tier_buffer, group, core, restore = self.parts.values()

        heads, found = Fork(head(config), 2), Fork(measured(config), 2)
        m.submodules.heads, m.submodules.found = heads, found
        connect(m, flipped(self.head), heads.i)
        queue(m, "prepared_heads", heads.o[0], prepare.head, HEADS)
        queue(m, "speculated_heads", heads.o[1], speculate.head, HEADS)
        connect(m, prepare.measured, found.i)
        queue(m, "speculated_means", found.o[0], speculate.measured, HEADS)
        for name in ("key", "value"):
            connect(m, flipped(getattr(self, name)), getattr(prepare, name))
        for name in ("prepared", "tiles", "cells"):
            connect(m, getattr(prepare, name), flipped(getattr(self, name)))

        connect(m, flipped(self.query), prepare_query.i)
        connect(m, prepare_query.o, speculate.query)
        connect(m, flipped(self.pooled), speculate.pooled)
        connect(m, speculate.judged, tier_buffer.i)
        connect(m, tier_buffer.o, group.i)
        connect(m, group.o, core.group)
        connect(m, speculate.rows, core.query)
        connect(m, flipped(self.token), core.token)
        connect(m, restore.o, flipped(self.output))
        m.d.comb += [self.counters.eq(core.counters), core.clear.eq(self.clear)]
        means = stream.Signature(measured(config)).create(path=("means",))
        queue(m, "restored_means", found.o[1], means, HEADS)
        self.restore_rows(m, core, restore, means)
        return m

    def restore_rows(self, m: Module, core: Core, restore: Restore, found) -> None:
        """Rows leave the core in bursts, at the last key tile: they wait for `restore`, each for its head's mean."""
        config = self.config
        rows = Signal(config.place_bits)
        m.submodules.row_counts = counts = fifo.SyncFIFO(width=config.place_bits, depth=2 * HEADS)
        entering = self.query.valid & self.query.ready
        m.d.comb += [counts.w_data.eq(rows + 1), counts.w_en.eq(entering & self.query.payload.last)]
        with m.If(entering):
            m.d.sync += rows.eq(Mux(self.query.payload.last, 0, rows + 1))

        width = layouts.output(config).size
        m.submodules.outputs = outputs = fifo.SyncFIFOBuffered(width=width, depth=config.query_rows)
        m.d.comb += [
            outputs.w_data.eq(Value.cast(core.output.payload)),
            outputs.w_en.eq(core.output.valid),
            core.output.ready.eq(outputs.w_rdy),
        ]
        known, loaded, ended, done = Signal(measured(config)), Signal(), Signal(), Signal(config.place_bits)
        last = counts.r_rdy & (counts.r_data == done + 1)
        m.d.comb += [
            found.ready.eq(~loaded),
            restore.i.valid.eq(outputs.r_rdy & loaded & ~ended),
            outputs.r_en.eq(restore.i.valid & restore.i.ready),
            Value.cast(restore.i.payload.elements).eq(outputs.r_data),
            restore.i.payload.last.eq(last),
            counts.r_en.eq(restore.i.valid & restore.i.ready & last),
            Value.cast(restore.mean).eq(Value.cast(known.value_mean)),
            restore.mean_exponent.eq(known.value_exponent),
        ]
        with m.If(found.valid & found.ready):
            m.d.sync += [loaded.eq(1), ended.eq(0), Value.cast(known).eq(Value.cast(found.payload))]
        with m.If(restore.i.valid & restore.i.ready):
            m.d.sync += [done.eq(Mux(last, 0, done + 1)), ended.eq(last)]
        with m.If(restore.o.valid & restore.o.ready & restore.o.payload.last):
            m.d.sync += loaded.eq(0)
