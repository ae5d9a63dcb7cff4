"""The complete hardware: raw queries, keys and values in, attention out. See golden.layer.

key, value -> prepare -> (memory) -> pooled, token ----------+
query -> places -> prepare_query -> work_queue -> query, job -> worker (config.cores of them) -> output

The memory is outside: what is written to `prepared`, `tiles` and `cells` comes back once for every query tile.
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.config import Config
from rtl import layouts
from rtl.counters import counters
from rtl.head import head, pooled, prepared, result, shape
from rtl.library import Named
from rtl.places import Places, placed
from rtl.prepare import Prepare
from rtl.prepare_query import PrepareQuery
from rtl.streams import Fork, queue, tagged
from rtl.work_queue import WorkQueue
from rtl.worker import Worker

HEADS = 2
"""Heads that may wait for their turn: one is computed while the next is prepared."""


class Simpicker(wiring.Component):
    """Attention of whole heads, one after the other without a gap.

    Streams
    -------
    head : `rtl.head.head`, one word for every head.
    key, value : `rtl.head.row`, all rows of a head in tile order, twice: first they are measured, then prepared.
    query : `rtl.head.row`, all rows of a head in tile order.
    prepared, tiles, cells : what the memory is to keep of a head: its tokens, and the means of key tiles and cells.

    and of every core:

    fetch : for every query tile that it begins, the number of its head; heads are counted from 0, round.
    pooled : all `tiles` and then all `cells` of that head.
    token : all its tokens as `prepared` had them.
    output : `rtl.head.result`, a row of FP16 numbers for every query row of the tile, in order.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.workers = [Worker(config) for _ in range(config.cores)]
        super().__init__(
            {
                "head": In(stream.Signature(head(config))),
                "key": In(stream.Signature(layouts.row(config))),
                "value": In(stream.Signature(layouts.row(config))),
                "query": In(stream.Signature(layouts.row(config))),
                "prepared": Out(stream.Signature(prepared(config))),
                "tiles": Out(stream.Signature(pooled(config))),
                "cells": Out(stream.Signature(pooled(config))),
                "fetch": Out(stream.Signature(config.head_number_bits)).array(config.cores),
                "pooled": In(stream.Signature(pooled(config))).array(config.cores),
                "token": In(stream.Signature(layouts.token(config))).array(config.cores),
                "output": Out(stream.Signature(result(config))).array(config.cores),
                "counters": Out(counters(config)).array(config.cores),
                "clear": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        prepare, work_queue = Prepare(config), WorkQueue(config)
        m.submodules.prepare, m.submodules.work_queue = Named(prepare, "prepare"), Named(work_queue, "work_queue")

        m.submodules.heads = heads = Fork(head(config), 3)
        connect(m, flipped(self.head), heads.i)
        queue(m, "prepared_heads", heads.o[0], prepare.head, HEADS)
        queue(m, "computed_heads", heads.o[1], work_queue.head, HEADS)
        queue(m, "computed_means", prepare.measured, work_queue.measured, HEADS)
        for name in ("key", "value"):
            connect(m, flipped(getattr(self, name)), getattr(prepare, name))
        for name in ("prepared", "tiles", "cells"):
            connect(m, getattr(prepare, name), flipped(getattr(self, name)))

        connect(m, self.prepare_queries(m, self.place_queries(m, heads.o[2])), work_queue.query)
        for n, worker in enumerate(self.workers):
            m.submodules[f"worker_{n}"] = Named(worker, "worker")
            connect(m, work_queue.job[n], worker.job)
            connect(m, work_queue.rows[n], worker.query)
            for name in ("pooled", "token"):
                connect(m, flipped(getattr(self, name)[n]), getattr(worker, name))
            for name in ("fetch", "output"):
                connect(m, getattr(worker, name), flipped(getattr(self, name)[n]))
            m.d.comb += [self.counters[n].eq(worker.counters), worker.clear.eq(self.clear)]
        return m

    def place_queries(self, m: Module, heads) -> stream.Interface:
        """Raw query rows with their places: whole tiles."""
        config = self.config
        placed_rows = stream.Signature(placed(config)).create(path=("placed",))
        shapes = stream.Signature(shape(config)).create(path=("shapes",))
        entering = stream.Signature(shape(config)).create(path=("entering",))
        m.d.comb += [
            entering.valid.eq(heads.valid),
            heads.ready.eq(entering.ready),
            Value.cast(entering.payload).eq(Value.cast(heads.payload.tokens)),
        ]
        queue(m, "query_heads", entering, shapes, HEADS)
        m.submodules.places = places = Places(config, config.query_rows)
        taken, row = self.query.valid & self.query.ready, self.query.payload
        m.d.comb += [
            places.step.eq(taken),
            places.last.eq(row.last),
            places.tokens.eq(shapes.payload),
            shapes.ready.eq(taken & row.last),
            placed_rows.valid.eq(self.query.valid & shapes.valid),
            self.query.ready.eq(placed_rows.ready & shapes.valid),
            Value.cast(placed_rows.payload.elements).eq(Value.cast(row.elements)),
            Value.cast(placed_rows.payload.place).eq(Value.cast(places.here)),
        ]
        return placed_rows

    def prepare_queries(self, m: Module, rows: stream.Interface) -> stream.Interface:
        """Query rows, rotated; their places go beside them."""
        config = self.config
        prepare_query = PrepareQuery(config, config.output_lanes)
        m.submodules.prepare_query = Named(prepare_query, "prepare_query")
        turned = stream.Signature(placed(config)).create(path=("turned",))
        given, found = prepare_query.i, prepare_query.o
        places = tagged(m, "query_places", rows, given, rows.payload.place, Const(1))
        m.d.comb += [
            Value.cast(given.payload.elements).eq(Value.cast(rows.payload.elements)),
            given.payload.last.eq(rows.payload.place.last),
            turned.valid.eq(found.valid),
            found.ready.eq(turned.ready),
            places.r_en.eq(turned.valid & turned.ready),
            Value.cast(turned.payload.elements).eq(Value.cast(found.payload.elements)),
            Value.cast(turned.payload.place).eq(places.r_data),
        ]
        return turned
