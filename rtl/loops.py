"""Counters of a nest of loops, from its declaration: see golden.control."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config, unsigned_bits
from golden.control import Event, Loop


class Loops(wiring.Component):
    """Where the nest stands: `at` is the index of every loop that is counted, `now` the events of this iteration.

    `limit` is the last index of each, which may change with the indices of the loops around it; `outer` says of the
    others whether this is the first or the last iteration. `step` ends an iteration of the innermost loop. After the
    last one of all that are counted they begin again. Combinational but for the counters, which move with `step`.
    """

    def __init__(self, config: Config, loops: Sequence[Loop], events: Sequence[Event]) -> None:
        self.loops, self.events = loops, events
        counted = {loop.name: unsigned_bits(getattr(config, loop.most) - 1) for loop in loops if loop.most}
        told = {loop.name: data.StructLayout({"first": 1, "last": 1}) for loop in loops if not loop.most}
        super().__init__(
            {
                "step": In(1),
                "limit": In(data.StructLayout(counted)),
                "outer": In(data.StructLayout(told)),
                "at": Out(data.StructLayout(counted)),
                "now": Out(data.StructLayout({event.name: 1 for event in events})),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        edges: dict[tuple[str, str], Value] = {}
        inner_end: Value = Const(1)  # the last iteration of all loops inside
        for loop in reversed(self.loops):
            begins, ends = Signal(name=f"{loop.name}_begins"), Signal(name=f"{loop.name}_ends")
            edges["first", loop.name], edges["last", loop.name] = begins, ends
            if not loop.most:
                m.d.comb += [begins.eq(self.outer[loop.name].first), ends.eq(self.outer[loop.name].last)]
                continue
            index = self.at[loop.name]
            m.d.comb += [begins.eq(index == 0), ends.eq(index == self.limit[loop.name])]
            with m.If(self.step & inner_end):
                m.d.sync += index.eq(Mux(ends, 0, index + 1))
            inner_end = inner_end & ends
        m.d.comb += [
            self.now[event.name].eq(Cat(edges[event.edge, name] for name in event.loops).all()) for event in self.events
        ]
        return m
