"""The complete hardware: raw queries, keys and values in, attention out. See golden.layer.

key, value -> prepare -> (memory) -> pooled, token ----------+
query -> places, or reuse -> compact -> prepare_query -> work_queue -> worker (config.cores of them) -> output

The memory is outside: what is written to `prepared`, `tiles` and `cells` comes back once for every query tile.
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out, connect, flipped

from golden.config import Config
from rtl import layouts
from rtl.compact import Compact
from rtl.counters import COUNTER_BITS, counters
from rtl.head import head, pooled, prepared, result, shape
from rtl.library import Named
from rtl.match import pair
from rtl.places import Places, placed
from rtl.prepare import Prepare
from rtl.prepare_query import PrepareQuery
from rtl.reuse import Reuse, request, reused
from rtl.streams import Fork, queue, tagged
from rtl.work_queue import WorkQueue
from rtl.worker import Worker

HEADS = 2
"""Heads that may wait for their turn: one is computed while the next is prepared."""


def reuse_ports(config: Config) -> dict[str, Member]:
    """What is there only where rows are reused."""
    return {
        "request": Out(stream.Signature(request(config))),
        "reference": In(stream.Signature(pair(config)["reference"].shape)),
        "reused": Out(stream.Signature(reused(config))),
        "rows_reused": Out(COUNTER_BITS),
    }


class Simpicker(wiring.Component):
    """Attention of whole heads, one after the other without a gap.

    Streams
    -------
    head : `rtl.head.head`, one word for every head.
    key, value : `rtl.head.row`, all rows of a head in tile order, twice: first they are measured, then prepared,
    keys before values.
    query : `rtl.head.row`, all rows of a head in tile order.
    prepared, tiles, cells : what the memory is to keep of a head: its keys, then its values; and the means of key
    tiles and cells.

    where config.reuse_distance is not 0:

    request, reference : the rows that query rows are compared with: which of the head's, and these.
    reused : `rtl.reuse.reused`, a word for every query row: whose result it takes.
    rows_reused : counts them.

    and of every core:

    fetch : for every query tile that it begins, the number of its head; heads are counted from 0, round.
    pooled : all `tiles` and then all `cells` of that head.
    token : all its tokens: what `prepared` had of each as key and as value.
    output : `rtl.head.result`, a row of FP16 numbers for every query row of the tile, in order.

    A head is fetched while it is still being prepared: the memory sends a word once it has it. It keeps a head until
    the last row of its output has come; if it has no room for another one, it does not take `prepared`, `tiles` and
    `cells`.
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
                **(reuse_ports(config) if config.reuse_distance else {}),
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
        """Raw query rows with their places: all, in whole tiles, or those that are computed."""
        config = self.config
        shapes = stream.Signature(shape(config)).create(path=("shapes",))
        entering = stream.Signature(shape(config)).create(path=("entering",))
        m.d.comb += [
            entering.valid.eq(heads.valid),
            heads.ready.eq(entering.ready),
            Value.cast(entering.payload).eq(Value.cast(heads.payload.tokens)),
        ]
        queue(m, "query_heads", entering, shapes, HEADS)
        return self.reuse_rows(m, shapes) if config.reuse_distance else self.place_rows(m, shapes)

    def place_rows(self, m: Module, shapes: stream.Interface) -> stream.Interface:
        """All rows are computed."""
        m.submodules.places = places = Places(self.config, self.config.query_rows)
        rows = stream.Signature(placed(self.config)).create(path=("rows",))
        taken, row = self.query.valid & self.query.ready, self.query.payload
        m.d.comb += [
            places.step.eq(taken),
            places.last.eq(row.last),
            places.tokens.eq(shapes.payload),
            shapes.ready.eq(taken & row.last),
            rows.valid.eq(self.query.valid & shapes.valid),
            self.query.ready.eq(rows.ready & shapes.valid),
            Value.cast(rows.payload.elements).eq(Value.cast(row.elements)),
            Value.cast(rows.payload.place).eq(Value.cast(places.here)),
        ]
        return rows

    def reuse_rows(self, m: Module, shapes: stream.Interface) -> stream.Interface:
        """Rows near to their reference take its result, the others are put together."""
        reuse, compact = Reuse(self.config), Compact(self.config)
        m.submodules.reuse, m.submodules.compact = Named(reuse, "reuse"), Named(compact, "compact")
        connect(m, shapes, reuse.head)
        connect(m, flipped(self.query), reuse.i)
        connect(m, flipped(self.reference), reuse.reference)
        connect(m, reuse.request, flipped(self.request))
        connect(m, reuse.reused, flipped(self.reused))
        connect(m, reuse.o, compact.i)
        with m.If(self.reused.valid & self.reused.ready & self.reused.payload.reused):
            m.d.sync += self.rows_reused.eq(self.rows_reused + 1)
        with m.If(self.clear):
            m.d.sync += self.rows_reused.eq(0)
        return compact.rows

    def prepare_queries(self, m: Module, rows: stream.Interface) -> stream.Interface:
        """Query rows, rotated; their places go beside them."""
        config = self.config
        prepare_query = PrepareQuery(config)
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
