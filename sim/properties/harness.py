"""Around a component: free inputs, and the rules of its streams assumed where they enter, asserted where they leave."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, ResetSignal, Signal, Value
from amaranth.lib.wiring import Component, In


class Harness(Elaboratable):
    """A component with a free signal at every input: what holds here holds for whatever surroundings.

    `free` has these signals by port name, `rtl.streams` the rules. Subclasses add to `properties`.
    """

    def __init__(self, component: Component) -> None:
        self.component: Any = component
        self.free: dict[str, Signal] = {}
        self.ports: dict[str, Value] = {}
        for path, member, value in component.signature.flatten(component):
            name = "__".join(map(str, path))
            self.ports[name] = Value.cast(value)
            if member.flow is In:
                self.free[name] = Signal(len(self.ports[name]), name=f"free_{name}")

    @property
    def inputs(self) -> list[Signal]:
        """Ports of the proof."""
        return list(self.free.values())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.component = self.component
        m.d.comb += [self.ports[name].eq(signal) for name, signal in self.free.items()]
        m.d.comb += Assume(~ResetSignal())
        self.properties(m)
        return m

    def properties(self, m: Module) -> None:
        """What is claimed: the rules of all streams."""
        for name in self.ports:
            if name.endswith("__valid"):
                self.rules(m, name.removesuffix("__valid"))

    def rules(self, m: Module, stream: str) -> None:
        """A word that was offered and not taken is offered again, unchanged."""
        valid, ready, payload = (self.ports[f"{stream}__{part}"] for part in ("valid", "ready", "payload"))
        waiting = Signal(name=f"{stream}_waiting")
        word = Signal(len(payload), name=f"{stream}_word")
        m.d.sync += [waiting.eq(valid & ~ready), word.eq(payload)]
        kept = ~waiting | (valid & (payload == word))
        if f"{stream}__valid" in self.free:
            m.d.comb += Assume(kept)
        else:
            m.d.comb += [Assert(kept), Cover(waiting & valid & ready)]
