"""Claims about the bank arbiter: see rtl.arbiter."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Signal
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
    """A lane's words come in the order of its requests, none lost, none twice, and no lane stands still by itself.

    Requests are numbered by their row; the banks give back the row that was read. The numbers wrap, but fewer
    requests than there are numbers can be under way.
    """

    def __init__(self, config: Config) -> None:
        self.layout, rows = request(config), address(config)["row"].width
        super().__init__(LanePort(config, rows))

    def properties(self, m: Module) -> None:
        lane = self.component
        super().properties(m)
        sent = self.count(m, lane.i, "sent")
        received = self.count(m, lane.o, "received")
        m.d.comb += [
            Assume(~lane.i.valid | (data.View(self.layout, lane.i.payload).address.row == sent)),
            Assert(~lane.o.valid | (lane.o.payload == received)),
            Assert((sent == received) | lane.o.valid | Cat(port.asking for port in lane.ports).any()),
        ]
        for n, port in enumerate(lane.ports):
            arrived = Signal(lane.word, name=f"arrived_{n}")
            with m.If(port.granted):
                m.d.sync += arrived.eq(port.head.address.row)
            m.d.comb += [Assume(port.arrived == arrived), Assume(~port.granted | port.asking)]
            for other in lane.ports[:n]:
                overtaken = other.asking & ~other.granted & (other.head.address.row < port.head.address.row)
                m.d.comb += [Cover(port.granted & overtaken), Cover(port.granted & other.granted)]

    def count(self, m: Module, stream, name: str) -> Signal:
        """How many words of a stream there were, with as many bits as a row has."""
        count = Signal(self.component.word, name=name)
        with m.If(stream.valid & stream.ready):
            m.d.sync += count.eq(count + 1)
        return count
