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
from rtl.head import head, job, pooled
from rtl.library import Named
from rtl.places import placed
from rtl.query_pools import QueryPools
from rtl.steps import in_turn
from rtl.streams import queue
from rtl.tier_buffer import judged

POOLED = ("mantissa", "exponent", "size")
"""What of pooled rows is estimated with."""


def judging(config: Config) -> data.StructLayout:
    """What of a job is needed to judge its query tile."""
    return data.StructLayout({"head": head(config), "key_exponent": FORMATS[config.float_format].exponent_bits})


class Speculate(wiring.Component):
    """Streams: `job`, a word for every query tile; `query`, its rotated rows; `pooled`, the means of all key tiles of
    its head and then of all its key cells; `rows`, the queries for the core; `judged`, the tiers of all key pieces.

    The rows of the next query tile are taken while one is judged.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "job": In(stream.Signature(job(config))),
                "query": In(stream.Signature(placed(config))),
                "pooled": In(stream.Signature(pooled(config))),
                "rows": Out(stream.Signature(layouts.query(config))),
                "judged": Out(stream.Signature(judged(config))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        m.submodules.queries = queries = QueryPools(config)
        estimate = Estimate(config)
        m.submodules.estimate = Named(estimate, "estimate")
        connect(m, queries.rows, flipped(self.rows))

        # The job whose rows come; what judging needs of it waits for the job before.
        given, open_ = self.job.payload, Signal()
        asked = stream.Signature(judging(config)).create(path=("asked",))
        waiting = stream.Signature(judging(config)).create(path=("waiting",))
        queue(m, "jobs", asked, waiting, 2)
        taken = self.job.valid & self.job.ready
        with m.If(taken):
            m.d.sync += [open_.eq(1), queries.output_exponent.eq(given.measured.output_exponent)]
        with m.Elif(self.query.valid & self.query.ready & self.query.payload.place.tile_end):
            m.d.sync += open_.eq(0)
        m.d.comb += [
            self.job.ready.eq(~open_ & asked.ready),
            asked.valid.eq(self.job.valid & ~open_),
            Value.cast(asked.payload.head).eq(Value.cast(given.head)),
            asked.payload.key_exponent.eq(given.measured.key_exponent),
            queries.i.valid.eq(self.query.valid & open_),
            self.query.ready.eq(queries.i.ready & open_),
            Value.cast(queries.i.payload).eq(Value.cast(self.query.payload)),
        ]
        at_work, form = Signal(judging(config)), FORMATS[config.float_format]
        units = 2 * form.bias + config.input_bits - 2 + config.query_bits - 2
        m.d.comb += [
            estimate.factor.eq(at_work.head.factor),
            estimate.power.eq(at_work.key_exponent + at_work.head.factor_exponent - Const(units)),
        ]
        self.judge(m, estimate, queries, waiting, at_work)
        return m

    def judge(self, m: Module, estimate: Estimate, queries: QueryPools, jobs: stream.Interface, at_work) -> None:
        """What is done with the streams in every step: see golden.control.SPECULATION."""
        config = self.config
        current = at_work.head
        m.submodules.frames = frames = Frames(config)
        # The cells of a query tile wait until its frames are judged.
        cells = stream.Signature(pooled(config)).create(path=("waiting",))
        queue(m, "cells", queries.cells, cells, config.query_cells)
        tile, cell, key, rank = queries.tiles, cells.payload, self.pooled, estimate.o
        passed, ranked = key.valid & key.ready, rank.valid & rank.ready
        tokens, pieces = Signal(config.place_bits), Signal(config.place_bits)  # that have passed; that were judged
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
                m.d.comb += jobs.ready.eq(1)  # it came before its rows did
                m.d.sync += [frames.own.eq(tile.payload.frame), Value.cast(at_work).eq(Value.cast(jobs.payload))]
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
