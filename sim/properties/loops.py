"""Claims about the counters of a loop nest: see rtl.loops."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal

from golden.config import Config
from golden.control import EVENTS, LOOPS
from rtl.loops import Loops
from sim.properties.harness import Harness


class EveryIteration(Harness):
    """A nest of constant limits goes through all its iterations in order, none left out, none twice, and begins again.

    The indices are the digits of a number to the bases limit + 1, which a step makes one larger.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(Loops(config, LOOPS, EVENTS))

    def properties(self, m: Module) -> None:
        loops = self.component
        number, total, inside = 0, 1, []
        for name, _ in loops.at.shape():
            index, most = loops.at[name], loops.limit[name]
            number, total = number * (most + 1) + index, total * (most + 1)
            inside.append(index <= most)
        count = Signal(len(self.ports["at"]))
        with m.If(loops.step):
            m.d.sync += count.eq(Mux(count == total - 1, 0, count + 1))
        begun, limit = Signal(), self.ports["limit"]
        before = Signal.like(limit, name="limit_before")
        m.d.sync += [begun.eq(1), before.eq(limit)]
        m.d.comb += [
            Assume(~begun | (limit == before)),
            Assert(number == count),
            *(Assert(each) for each in inside),
            Assert(loops.now.tile_end == (count == total - 1)),
            Cover(loops.step & loops.now.tile_end & (total > 3)),
        ]
