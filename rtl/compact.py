"""Compaction: rows that are reused leave query tiles short, and neighbouring ones are joined. See golden.group.

i --+--> [rows], [opens] ------+--> rows
    |                          |
    +--> (joins?) --> [parts] -+
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from rtl import layouts
from rtl.places import placed
from rtl.reuse import decided

PARTS = 2
"""Parts that wait behind the one that leaves: the next one, and one that ends before it is read."""


def computed(config: Config) -> data.StructLayout:
    """A computed row and its own frame."""
    return data.StructLayout({"elements": layouts.row(config)["elements"].shape, "frame": config.frame_bits})


def part(config: Config) -> data.StructLayout:
    """What is left of a tile: how many rows, and whether they join the part before; only the last may have none."""
    return data.StructLayout({"rows": range(config.query_rows + 1), "joins": 1, "last": 1})


class Compact(wiring.Component):
    """i: every row, with the decision about it; `rows`: the computed ones, in query tiles of their own. Of their places
    piece_end and frame_end are 0.

    Tiles that begin in the same frame are joined as long as their computed rows fit into one, group_window at most. The
    `frame` of a tile is that of its first computed row.

    A row per cycle on both sides; only heads shorter than a tile may wait for the rows before them. The computed rows
    of an original tile leave from two cycles after its last row was taken on; the last of them when it is known what
    follows: another tile with computed rows, or the head, has ended. `latency` if all rows of full tiles are computed.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({"i": In(stream.Signature(decided(config))), "rows": Out(stream.Signature(placed(config)))})

    @property
    def latency(self) -> int:
        """Cycles that a row takes where all rows of full tiles are computed."""
        return self.config.query_rows + 1

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        # A tile's last row waits for all of the next tile; and another row comes while the word about that is read.
        depth = config.query_rows + 2
        m.submodules.rows = rows = fifo.SyncFIFOBuffered(width=computed(config).size, depth=depth)
        m.submodules.opens = opens = fifo.SyncFIFO(width=1, depth=depth)
        m.submodules.parts = parts = fifo.SyncFIFO(width=part(config).size, depth=PARTS)
        self.write(m, rows, opens, parts)
        self.read(m, rows, opens, parts)
        return m

    def write(self, m: Module, rows: fifo.SyncFIFOBuffered, opens: fifo.SyncFIFO, parts: fifo.SyncFIFO) -> None:
        """Computed rows, those behind the first of a tile with a bit: whether they open a cell; and parts."""
        config, here, where = self.config, self.i.payload, self.i.payload.place
        taken, row, found = Signal(), data.View(computed(config), rows.w_data), data.View(part(config), parts.w_data)
        # Computed rows of this tile before this row, and with it; and whether there are none before it in its cell.
        before, count, fresh = Signal(range(config.query_rows)), Signal(range(config.query_rows + 1)), Signal(init=1)
        joins = Signal()
        m.d.comb += [
            self.i.ready.eq((rows.w_rdy | ~here.kept) & (parts.w_rdy | ~where.tile_end)),
            taken.eq(self.i.valid & self.i.ready),
            rows.w_en.eq(taken & here.kept),
            row.elements.eq(here.row),
            row.frame.eq(where.frame),
            opens.w_en.eq(taken & here.kept & (before != 0)),
            opens.w_data.eq(fresh),
            parts.w_en.eq(taken & where.tile_end & ((count != 0) | here.last)),
            count.eq(before + here.kept),
            found.rows.eq(count),
            found.joins.eq(joins),
            found.last.eq(here.last),
        ]
        with m.If(taken):
            m.d.sync += [
                before.eq(Mux(where.tile_end, 0, count)),
                fresh.eq(where.cell_end | (fresh & ~here.kept)),
            ]

        # The tiles that this one may join: their rows, their frame, and how far behind the first of them it is.
        joined, frame = Signal(range(config.query_rows + 1)), Signal(config.frame_bits)
        distance = Signal(range(config.group_window + 1), init=config.group_window)
        m.d.comb += joins.eq(
            (distance != config.group_window) & (where.tile_frame == frame) & (joined + count <= config.query_rows)
        )
        opening = (count != 0) & ~joins
        with m.If(taken & where.tile_end):
            m.d.sync += joined.eq(Mux(opening, 0, joined) + count)
            with m.If(opening):
                m.d.sync += frame.eq(where.tile_frame)
            with m.If(here.last):
                m.d.sync += distance.eq(config.group_window)
            with m.Elif(opening):
                m.d.sync += distance.eq(1)
            with m.Elif(distance != config.group_window):
                m.d.sync += distance.eq(distance + 1)

    def read(self, m: Module, rows: fifo.SyncFIFOBuffered, opens: fifo.SyncFIFO, parts: fifo.SyncFIFO) -> None:
        """Rows leave as soon as it is known what follows: for the last one of a part, the next part says it."""
        config, where = self.config, self.rows.payload.place
        row, following = data.View(computed(config), rows.r_data), data.View(part(config), parts.r_data)
        left, last = Signal(range(config.query_rows + 1)), Signal()
        frame, begins = Signal(config.frame_bits), Signal(init=1)
        final, head_end, tile_end, sent, load = left == 1, Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.rows.valid.eq((left != 0) & rows.r_rdy & (~final | last | parts.r_rdy)),
            self.rows.payload.elements.eq(row.elements),
            where.cell_end.eq(final | opens.r_data),
            head_end.eq(final & (last | (following.rows == 0))),
            tile_end.eq(head_end | (final & ~following.joins)),
            where.last.eq(head_end),
            where.tile_end.eq(tile_end),
            where.frame.eq(Mux(begins, row.frame, frame)),
            sent.eq(self.rows.valid & self.rows.ready),
            rows.r_en.eq(sent),
            opens.r_en.eq(sent & ~final),
            load.eq((left == 0) | (sent & final)),
            parts.r_en.eq(load),
        ]
        with m.If(load):
            m.d.sync += [left.eq(Mux(parts.r_rdy, following.rows, 0)), last.eq(following.last)]
        with m.Elif(sent):
            m.d.sync += left.eq(left - 1)
        with m.If(sent):
            m.d.sync += [frame.eq(where.frame), begins.eq(tile_end)]
