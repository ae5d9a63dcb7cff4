"""Speculation: what every query tile seems to look at, decided while the core computes the one before.

See golden.speculate. For every query tile its mean meets the means of all key tiles, which tells the frames that
matter; then the means of its cells meet those of all key cells in these frames, which tells the tiers of all pieces.
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.config import Config, Tier
from golden.control import SPECULATION
from golden.formats import FORMATS
from rtl import layouts
from rtl.estimate import Estimate
from rtl.frames import Frames
from rtl.head import head, measured, pooled
from rtl.query_pools import QueryPools
from rtl.steps import in_turn
from rtl.streams import queue
from rtl.tier_buffer import judged

POOLED = ("mantissa", "exponent", "size")
"""What of pooled rows is estimated with."""


class Speculate(wiring.Component):
    """Streams: `head` and `measured`, a word of each for every head; `query`, its rotated rows; `pooled`, the means of
    all its key tiles and then of all its key cells, again for every query tile; `rows`, the queries for the core;
    `judged`, the tiers of all key pieces for every query tile.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "head": In(stream.Signature(head(config))),
                "measured": In(stream.Signature(measured(config))),
                "query": In(stream.Signature(layouts.row(config))),
                "pooled": In(stream.Signature(pooled(config))),
                "rows": Out(stream.Signature(layouts.query(config))),
                "judged": Out(stream.Signature(judged(config))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        m.submodules.queries = queries = QueryPools(config)
        m.submodules.estimate = estimate = Estimate(config)
        connect(m, queries.rows, flipped(self.rows))

        # The head at work. Its successor's rows wait until its last query tile has its tiers.
        current, found = Signal(head(config)), Signal(measured(config))
        loaded, ended, finished = Signal(), Signal(), Signal()
        begin = ~loaded & self.head.valid & self.measured.valid
        m.d.comb += [self.head.ready.eq(begin), self.measured.ready.eq(begin)]
        with m.If(begin):
            m.d.sync += [
                loaded.eq(1),
                ended.eq(0),
                Value.cast(current).eq(Value.cast(self.head.payload)),
                Value.cast(found).eq(Value.cast(self.measured.payload)),
            ]
        with m.Elif(finished):
            m.d.sync += loaded.eq(0)
        open_ = loaded & ~ended
        form = FORMATS[config.float_format]
        units = 2 * form.bias + config.input_bits - 2 + config.query_bits - 2
        m.d.comb += [
            queries.i.valid.eq(self.query.valid & open_),
            self.query.ready.eq(queries.i.ready & open_),
            Value.cast(queries.i.payload).eq(Value.cast(self.query.payload)),
            queries.tokens.eq(current.tokens),
            queries.output_exponent.eq(found.output_exponent),
            estimate.factor.eq(current.factor),
            estimate.power.eq(found.key_exponent + current.factor_exponent - Const(units)),
        ]
        with m.If(self.query.valid & self.query.ready & self.query.payload.last):
            m.d.sync += ended.eq(1)
        self.judge(m, estimate, queries, current, finished)
        return m

    def judge(self, m: Module, estimate: Estimate, queries: QueryPools, current: data.View, finished: Signal) -> None:
        """What is done with the streams in every step: see golden.control.SPECULATION."""
        config = self.config
        m.submodules.frames = frames = Frames(config)
        # The cells of a query tile wait until its frames are judged.
        cells = stream.Signature(pooled(config)).create(path=("waiting",))
        queue(m, "cells", queries.cells, cells, config.query_rows // config.cell)
        tile, cell, key, rank = queries.tiles, cells.payload, self.pooled, estimate.o
        passed, ranked = key.valid & key.ready, rank.valid & rank.ready
        tokens, pieces = Signal(config.place_bits), Signal(config.place_bits)  # that have passed; that were judged
        last_tile = Signal()
        m.d.comb += [
            frames.step.eq(passed),
            frames.frame.eq(key.payload.frame),
            frames.frame_end.eq(key.payload.frame_end),
            frames.last.eq(key.payload.last),
            frames.rank.eq(rank.payload.rank),
            frames.floor.eq(current.frame_floor),
            *(Value.cast(estimate.key.payload[name]).eq(Value.cast(key.payload[name])) for name in POOLED),
            estimate.key.payload.ends.eq(key.payload.part_end),
            estimate.key.payload.last.eq(key.payload.last),
        ]
        step = in_turn(m, SPECULATION, {"tile": tile, "pooled": key, "rank": rank, "cell": cells})
        with m.If(step["tile"]):
            m.d.comb += [estimate.query.valid.eq(tile.valid), tile.ready.eq(estimate.query.ready)]
            self.ask(m, estimate, tile.payload, Const(1))
            with m.If(tile.valid & tile.ready):
                m.d.sync += [frames.own.eq(tile.payload.frame), last_tile.eq(tile.payload.last)]
        with m.If(step["key tiles"]):
            m.d.comb += [estimate.key.valid.eq(key.valid), key.ready.eq(estimate.key.ready), frames.learn.eq(1)]
        with m.If(step["frames"]):
            m.d.comb += [
                rank.ready.eq(1),
                frames.judge.eq(1),
                frames.step.eq(ranked),
                frames.frame_end.eq(1),
                frames.last.eq(rank.payload.last),
            ]
        with m.If(step["cells"]):
            m.d.comb += [estimate.query.valid.eq(cells.valid), cells.ready.eq(estimate.query.ready)]
            self.ask(m, estimate, cell, cell.part_end)
        with m.If(step["key cells"]):
            # A piece in a frame that is skipped goes on as a single beat.
            wanted = frames.kept | key.payload.part_end
            m.d.comb += [
                estimate.key.valid.eq(key.valid & wanted),
                key.ready.eq(estimate.key.ready | ~wanted),
                estimate.key.payload.empty.eq(~frames.kept),
            ]
            with m.If(passed):
                m.d.sync += tokens.eq(tokens + key.payload.size)
        with m.If(step["pieces"]):
            m.d.comb += [self.judged.valid.eq(rank.valid), rank.ready.eq(self.judged.ready)]
            with m.If(ranked):
                m.d.sync += pieces.eq(Mux(rank.payload.last, 0, pieces + 1))
                with m.If(rank.payload.last):
                    m.d.sync += tokens.eq(0)
                    m.d.comb += finished.eq(last_tile)
        # Text is at least LUT8: the pieces that begin before text_tokens.
        top = (pieces * config.piece < current.tokens.text_tokens) | (rank.payload.rank >= current.lut8)
        full = rank.payload.rank >= current.full if config.digits > 2 else Const(0)
        m.d.comb += [
            self.judged.payload.tier.eq(Mux(~top, Tier.LUT4, Mux(full, Tier.FULL, Tier.LUT8))),
            self.judged.payload.tokens.eq(tokens),
            self.judged.payload.last.eq(rank.payload.last),
        ]

    def ask(self, m: Module, estimate: Estimate, means: data.View, last: Value) -> None:
        """Pooled queries to the estimate."""
        asked = estimate.query.payload
        m.d.comb += [*(Value.cast(asked[name]).eq(Value.cast(means[name])) for name in POOLED), asked.last.eq(last)]
