"""Claims about the bank arbiter: see rtl.arbiter."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import data

from golden.config import Config
from rtl.arbiter import BankPort, LanePort, address, request
from sim.properties.harness import Harness


class OneGrant(Harness):
    """A bank serves exactly those lanes that ask for the word it reads, and reads whenever it is asked."""

    def __init__(self, config: Config) -> None:
        super().__init__(BankPort(config))
        self.config = config

    def properties(self, m: Module) -> None:
        port = self.component
        for lane in range(self.config.lanes):
            same = port.addresses[lane] == port.address
            m.d.comb += Assert(port.granted[lane] == (port.asking[lane] & same))
        m.d.comb += [
            Assert(port.enable == port.asking.any()),
            Assert(port.granted.any() == port.enable),
            Cover(port.asking.all() & (port.granted == 1 << (self.config.lanes - 1))),
        ]


class BoundedWait(Harness):
    """A lane that keeps asking is served after at most lanes - 1 others."""

    def __init__(self, config: Config) -> None:
        super().__init__(BankPort(config))
        self.config = config

    def properties(self, m: Module) -> None:
        port, lanes = self.component, self.config.lanes
        stuck = []
        for lane in range(lanes):
            refused, before = Signal(name=f"refused_{lane}"), Signal(address(self.config), name=f"before_{lane}")
            waited = Signal(range(lanes + 1), name=f"waited_{lane}")
            passed_over = port.asking[lane] & ~port.granted[lane]
            m.d.sync += [refused.eq(passed_over), before.eq(port.addresses[lane])]
            m.d.comb += Assume(~refused | (port.asking[lane] & (port.addresses[lane] == before)))
            with m.If(~passed_over):
                m.d.sync += waited.eq(0)
            with m.Elif(waited != lanes):
                m.d.sync += waited.eq(waited + 1)
            m.d.comb += Assert(waited < lanes)
            stuck.append(waited == lanes - 1)
        m.d.comb += [Cover(condition) for condition in stuck]


class LaneOrder(Harness):
    """A lane's words come in the order of its requests, none lost, none twice.

    Requests are numbered by their row; the bank gives back the row that was read. The numbers wrap, but no more than
    request_depth + 2 requests are under way.
    """

    def __init__(self, config: Config) -> None:
        self.layout = request(config)
        super().__init__(LanePort(config, self.layout.size))

    def properties(self, m: Module) -> None:
        lane = self.component
        super().properties(m)
        self.number(m, lane.i, "sent", assume=True)
        self.number(m, lane.o, "received", assume=False)
        arrived = Signal(self.layout.size)
        with m.If(lane.granted):
            m.d.sync += arrived.eq(lane.head.as_value())
        m.d.comb += [Assume(lane.arrived == arrived), Assume(~lane.granted | lane.asking)]

    def number(self, m: Module, stream, name: str, assume: bool) -> None:
        """All words of a stream are numbered in order."""
        count = Signal(len(data.View(self.layout, stream.payload).address.row), name=name)
        with m.If(stream.valid & stream.ready):
            m.d.sync += count.eq(count + 1)
        numbered = ~stream.valid | (data.View(self.layout, stream.payload).address.row == count)
        m.d.comb += Assume(numbered) if assume else Assert(numbered)
