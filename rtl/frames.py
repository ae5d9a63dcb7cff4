"""The frames of a head that one query tile looks into: those of little estimated attention are skipped."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config


class Frames(wiring.Component):
    """First all key tiles pass, with `learn`, then all ranks of their frames, with `judge`, then all key cells.

    `frame` is the number of the frame that passes, 0 for text, `frame_end` its last tile or cell, `last` that of all; a
    rank is its frame's end. `kept` says whether the frame that passes is looked into: text, the first frame, and the
    query tile's `own` are, and every one whose rank is at least `floor`. Combinational.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        rank = signed(config.rank_bits)
        super().__init__(
            {
                "step": In(1),
                "frame": In(config.frame_bits),
                "frame_end": In(1),
                "last": In(1),
                "learn": In(1),
                "judge": In(1),
                "rank": In(rank),
                "floor": In(rank),
                "own": In(config.frame_bits),
                "kept": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        # Frames are known by their order: not every one has a tile that begins in it.
        part = Signal(config.frame_bits)
        with m.If(self.step):
            m.d.sync += part.eq(Mux(self.last, 0, part + self.frame_end))

        depth = config.max_frames + 1
        m.submodules.numbers = numbers = memory.Memory(shape=config.frame_bits, depth=depth, init=[])
        m.submodules.flags = flags = memory.Memory(shape=1, depth=depth, init=[])
        number, number_read = numbers.write_port(), numbers.read_port(domain="comb")
        flag, flag_read = flags.write_port(), flags.read_port(domain="comb")
        known, seen = number_read.data, Signal()  # `seen`: a frame that is not text has passed
        with m.If(self.step & self.judge):
            m.d.sync += seen.eq(~self.last & (seen | (known != 0)))
        m.d.comb += [
            *(port.addr.eq(part) for port in (number, number_read, flag, flag_read)),
            number.en.eq(self.step & self.learn),
            number.data.eq(self.frame),
            flag.en.eq(self.step & self.judge),
            flag.data.eq((known == 0) | ~seen | (known == self.own) | (self.rank >= self.floor)),
            self.kept.eq(flag_read.data),
        ]
        return m
