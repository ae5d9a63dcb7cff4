"""Modules by name: elaborated once, instantiated everywhere.

A core has thousands of equal table readers. Amaranth would elaborate and write each of them; here the first one
becomes a definition, and all of them instances of it. The Verilog stays readable, and every tool behind it fast.
"""

from __future__ import annotations

import re
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Elaboratable, Instance, ResetSignal
from amaranth.lib.wiring import Component, In

_CLOCKING = {"clk": ClockSignal, "rst": ResetSignal}

_CLUTTER = re.compile(r"^(  wire .*|connect )\\\S*\[\d+\].*\n|^  wire width 0 .*\n|^connect \S+ {  }\n", re.MULTILINE)
"""Wires without any bit, and those that only name an array's element: nothing reads them, and tools stumble over them
(abc9 takes the latter for bits of a port)."""


class Library:
    """A platform for elaboration that collects the definitions of named modules."""

    def __init__(self) -> None:
        self.definitions: dict[str, str] = {}
        """RTLIL of every module, those it is made of before it"""
        self._signatures: dict[str, tuple] = {}

    def convert(self, component: Component, name: str) -> str:
        """RTLIL of a component and all that is below it, but without the definitions it instantiates."""
        text = rtlil.convert(component, name=name, platform=self, emit_src=False)
        return _CLUTTER.sub("", text)

    def instance(self, component: Component, name: str) -> Instance:
        """An instance of `component`, whose first occurrence under `name` defines the module.

        A second component of the same name but another type or signature raises ValueError.
        """
        identity = (type(component), component.signature)
        if self._signatures.setdefault(name, identity) != identity:
            raise ValueError(f"module {name!r} names two different components")
        if name not in self.definitions:
            text = self.convert(component, name)
            self.definitions[name] = text
        ports = {}
        for path, member, value in component.signature.flatten(component):
            ports[f"{'i' if member.flow is In else 'o'}_{'__'.join(map(str, path))}"] = value
        body = self.definitions[name].partition(f"\nmodule \\{name}\n")[2].partition("\nmodule ")[0]
        inputs = re.findall(r"^  wire .*input \d+\s+\\(clk|rst)$", body, re.MULTILINE)
        return Instance(name, **ports, **{f"i_{port}": _CLOCKING[port]("sync") for port in inputs})


class Named(Elaboratable):
    """A submodule that becomes an instance of the module `name`; the parent connects the component's own ports."""

    def __init__(self, component: Component, name: str) -> None:
        self.component, self.name = component, name
        component._MustUse__used = True  # type: ignore[attr-defined]  # its definition may be an equal one's

    def elaborate(self, platform) -> Any:
        return platform.instance(self.component, self.name) if isinstance(platform, Library) else self.component
