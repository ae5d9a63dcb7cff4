"""Rotation by a Hadamard transform, block by block of 2**rotation_stages channels: see golden.rotate.

A fast Walsh-Hadamard transform of constant geometry (Pease, J. ACM 1968): all stages are the same, out[i] = x[2i] +
x[2i + 1] and out[i + half] = x[2i] - x[2i + 1], so that one register and few adders serve them all. A stage moves the
lowest bit of a channel's index to the top; after all stages the channels are in their natural order again.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config

STAGES_PER_CYCLE = 2
"""Stages chained between two registers, unless told otherwise."""


def vector(config: Config, width: int, tag: ShapeLike) -> data.StructLayout:
    """A row of numbers of `width` bits, and what travels beside it."""
    return data.StructLayout({"vector": data.ArrayLayout(signed(width), config.head_dim), "tag": tag})


def rotation_cycles(stages: int, stages_per_cycle: int) -> int:
    """Cycles that a row takes of a `Rotate` of so many stages."""
    return max(1, -(-stages // stages_per_cycle))


class Rotate(wiring.Component):
    """i: `vector` of `width` bits, o: `vector` of width + stages bits, exact; the tag is handed on.

    `stages` of the transform, all of them unless told otherwise: see `rotates`. `cycles` = max(1, ceil(stages /
    stages_per_cycle)) is the latency, and the cycles from row to row: the next row is taken in the cycle in which one
    leaves. o.ready reaches i.ready within a cycle. head_dim / 2 * min(stages_per_cycle, stages) adders and as many
    subtractors.
    """

    def __init__(
        self,
        config: Config,
        width: int,
        tag_layout: ShapeLike,
        stages_per_cycle: int = STAGES_PER_CYCLE,
        stages: int | None = None,
    ) -> None:
        if stages_per_cycle < 1:
            raise ValueError(f"stages_per_cycle = {stages_per_cycle}: must be at least 1")
        self.config = config
        self.stages = config.rotation_stages if stages is None else stages
        self.cycles = rotation_cycles(self.stages, stages_per_cycle)
        self.chained = min(stages_per_cycle, self.stages)
        self.width = width + self.stages
        super().__init__(
            {
                "i": In(stream.Signature(vector(config, width, tag_layout))),
                "o": Out(stream.Signature(vector(config, self.width, tag_layout))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        left = Signal(range(self.cycles))  # cycles that the row in the register still needs
        filled, load = Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(filled & (left == 0)),
            self.i.ready.eq((left == 0) & (~filled | self.o.ready)),
            load.eq(self.i.valid & self.i.ready),
        ]
        with m.If(load):
            m.d.sync += [filled.eq(1), left.eq(self.cycles - 1), self.o.payload.tag.eq(self.i.payload.tag)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Elif(self.o.ready):
            m.d.sync += filled.eq(0)

        # Where the stages do not fill all cycles, a new row skips the first of the chain.
        skipped = self.cycles * self.chained - self.stages
        row: list[Value] = list(self.o.payload.vector)
        for stage in range(self.chained + 1):
            if stage == skipped:
                entering = list(self.i.payload.vector)
                row = entering if self.cycles == 1 else [Mux(load, i, x) for i, x in zip(entering, row, strict=True)]
            if stage < self.chained:
                row = self.stage(m, row, stage)
        with m.If(load | (left != 0)):
            m.d.sync += [register.eq(x) for register, x in zip(self.o.payload.vector, row, strict=True)]
        return m

    def stage(self, m: Module, row: Sequence[Value], n: int) -> list[Value]:
        """The n-th stage of the chain, which names its signals."""
        block = 1 << self.config.rotation_stages
        out: list[Value] = []
        for start in range(0, len(row), block):
            pairs = list(zip(row[start : start + block : 2], row[start + 1 : start + block : 2], strict=True))
            out += [even + odd for even, odd in pairs] + [even - odd for even, odd in pairs]
        # A row that stays for several cycles grows in a register of its final width.
        mixed = [Signal(signed(min(len(x), self.width)), name=f"mixed_{n}_{k}") for k, x in enumerate(out)]
        m.d.comb += [signal.eq(x) for signal, x in zip(mixed, out, strict=True)]
        return list(mixed)


def rotates(config: Config, width: int, tag_layout: ShapeLike, interval: int) -> list[Rotate]:
    """The transform as units in series, a row every `interval` cycles: each takes as many stages as it has time for.

    Their output stays in a permuted order up to the last one, since stages are all the same.
    """
    stages = config.rotation_stages
    count = max(1, -(-stages // (interval * STAGES_PER_CYCLE)))
    units: list[Rotate] = []
    for n in range(count):
        own = stages * (n + 1) // count - stages * n // count
        units.append(Rotate(config, width, tag_layout, max(1, -(-own // interval)), own))
        width = units[-1].width
    return units
