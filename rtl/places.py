"""Places: where a row stands in the token order of its head, counted as rows pass by. See golden.tiles."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from golden.formats import FORMATS
from rtl.head import shape


def place(config: Config) -> data.StructLayout:
    """Where a row stands."""
    return data.StructLayout(
        {
            "cell_end": 1,  # the last row of its cell
            "piece_end": 1,  # of its piece
            "tile_end": 1,  # of its tile
            "frame_end": 1,  # of its tile, and the next tile begins in another frame
            "frame": config.frame_bits,  # in which its tile begins: 0 for text, else counted from 1
            "last": 1,  # of the head
        }
    )


def placed(config: Config) -> data.StructLayout:
    """A query row, and where it stands in its query tile."""
    words = data.ArrayLayout(FORMATS[config.float_format].bits, config.head_dim)
    return data.StructLayout({"elements": words, "place": place(config)})


class Places(wiring.Component):
    """`here` belongs to the row that passes when `step` is high; `last` says that it is the head's last one.

    So do its `own_frame`, 0 for text, and its `index` in it, from 0; `next_index` is that of the cycle after.
    `size` rows are a tile. Combinational from `last`, `next_index` from `step`, too; the counters move with `step`.
    """

    def __init__(self, config: Config, size: int) -> None:
        self.config, self.size = config, size
        super().__init__(
            {
                "step": In(1),
                "last": In(1),
                "tokens": In(shape(config)),
                "here": Out(place(config)),
                "own_frame": Out(config.frame_bits),
                "index": Out(config.place_bits),
                "next_index": Out(config.place_bits),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        ends = {}
        for name, size in (("cell", config.cell), ("piece", config.piece), ("tile", self.size)):
            count, full = Signal(range(max(2, size)), name=f"in_{name}"), Signal(name=f"{name}_full")
            m.d.comb += full.eq(count == size - 1)
            with m.If(self.step):
                m.d.sync += count.eq(Mux(full | self.last, 0, count + 1))
            ends[name] = full | self.last

        # The frame of this row and of the next one: text first, then every frame_tokens rows another.
        current, index = self.own_frame, self.index
        coming, next_frame = Signal(config.frame_bits), Signal(config.frame_bits)
        part, text, begun, restarts = Signal(config.place_bits), Signal(), Signal(), Signal()
        m.d.comb += [
            text.eq(Mux(begun, coming == 0, self.tokens.text_tokens != 0)),
            current.eq(Mux(text, 0, Mux(begun, coming, 1))),
            part.eq(Mux(text, self.tokens.text_tokens, self.tokens.frame_tokens)),
            next_frame.eq(current + (index == part - 1)),
            restarts.eq(self.last | (next_frame != current)),
            self.next_index.eq(Mux(self.step, Mux(restarts, 0, index + 1), index)),
        ]
        m.d.sync += index.eq(self.next_index)
        tile_frame, starts = Signal(config.frame_bits), Signal(init=1)
        with m.If(self.step):
            m.d.sync += [
                begun.eq(~self.last),
                coming.eq(next_frame),
                starts.eq(ends["tile"]),
            ]
            with m.If(starts):
                m.d.sync += tile_frame.eq(current)
        began = Signal(config.frame_bits)  # the frame in which this tile did
        m.d.comb += began.eq(Mux(starts, current, tile_frame))
        m.d.comb += [
            self.here.cell_end.eq(ends["cell"]),
            self.here.piece_end.eq(ends["piece"]),
            self.here.tile_end.eq(ends["tile"]),
            self.here.frame.eq(began),
            self.here.frame_end.eq(self.last | (ends["tile"] & (next_frame != began))),
            self.here.last.eq(self.last),
        ]
        return m
