"""Query rows on their way into the core, and the means of their tiles and cells that speculation looks at."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from golden.formats import FORMATS
from rtl import layouts
from rtl.align import Align
from rtl.head import pooled
from rtl.library import Named
from rtl.places import place, placed
from rtl.pool import Pool
from rtl.streams import Fork, tagged


class QueryPools(wiring.Component):
    """i: rotated rows with their places; rows: the same for the core; cells, tiles: their means.

    A row that is not finite counts as zeros. One row per cycle, but for those that raise a sum's exponent: see Pool.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(placed(config))),
                "output_exponent": In(layouts.query(config)["output_exponent"].shape),
                "rows": Out(stream.Signature(layouts.query(config))),
                "cells": Out(stream.Signature(pooled(config))),
                "tiles": Out(stream.Signature(pooled(config))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        m.submodules.fork = fork = Fork(data.StructLayout({"row": layouts.query(config), "place": place(config)}), 2)
        entering, given = fork.i.payload, self.i.payload
        m.d.comb += [
            fork.i.valid.eq(self.i.valid),
            self.i.ready.eq(fork.i.ready),
            Value.cast(entering.row.elements).eq(Value.cast(given.elements)),
            entering.row.output_exponent.eq(self.output_exponent),
            entering.row.last.eq(given.place.tile_end),
            Value.cast(entering.place).eq(Value.cast(given.place)),
        ]
        m.d.comb += [
            self.rows.valid.eq(fork.o[0].valid),
            fork.o[0].ready.eq(self.rows.ready),
            Value.cast(self.rows.payload).eq(Value.cast(fork.o[0].payload.row)),
        ]

        align = Align(config)
        m.submodules.align = Named(align, "align")
        m.d.comb += Value.cast(align.i.payload).eq(Value.cast(fork.o[1].payload.row))
        beside = tagged(m, "row_places", fork.o[1], align.i, fork.o[1].payload.place, Const(1))
        m.submodules.aligned = aligned = Fork(
            data.StructLayout({"row": layouts.aligned(config), "place": place(config)}), 2
        )
        m.d.comb += [
            aligned.i.valid.eq(align.o.valid),
            align.o.ready.eq(aligned.i.ready),
            beside.r_en.eq(aligned.i.valid & aligned.i.ready),
            Value.cast(aligned.i.payload.row).eq(Value.cast(align.o.payload)),
            Value.cast(aligned.i.payload.place).eq(beside.r_data),
        ]
        for name, consumer, end in (("cells", aligned.o[0], "cell_end"), ("tiles", aligned.o[1], "tile_end")):
            rows, here = consumer.payload.row, consumer.payload.place
            form = FORMATS[config.float_format]
            pool = Pool(config, config.query_bits, form.exponent_bits)
            m.submodules[f"pool_{name}"] = Named(pool, "query_pool")
            invalid = rows.tag.info.invalid
            m.d.comb += [
                *(pool.i.payload.vector[n].eq(Mux(invalid, 0, rows.mantissa[n])) for n in range(config.head_dim)),
                pool.i.payload.exponent.eq(Mux(invalid, 1, rows.tag.exponent)),
                pool.i.payload.ends.eq(here[end]),
                pool.i.payload.last.eq(here.last),
            ]
            tags = tagged(m, f"{name}_places", consumer, pool.i, here, here[end])
            pooled_at(m, config, pool, tags, getattr(self, name), "tile_end" if name == "cells" else "last")
        return m


def pooled_at(m: Module, config: Config, pool: Pool, tags, o, part_end: str) -> None:
    """Pooled rows, as o, with the place of the last of them from the queue `tags`."""
    here = data.View(place(config), tags.r_data)
    m.d.comb += [
        o.valid.eq(pool.o.valid),
        pool.o.ready.eq(o.ready),
        tags.r_en.eq(o.valid & o.ready),
        Value.cast(o.payload.mantissa).eq(Value.cast(pool.o.payload.mantissa)),
        *(o.payload[name].eq(pool.o.payload[name]) for name in ("exponent", "size", "last")),
        o.payload.frame.eq(here.frame),
        o.payload.part_end.eq(here[part_end]),
        o.payload.frame_end.eq(here.frame_end),
    ]
