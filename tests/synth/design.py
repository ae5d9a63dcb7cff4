"""Small designs for the tests of mapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Module
from amaranth.lib.wiring import Component


class Design(Component):
    """A component of ports and a function that fills its module."""

    def __init__(self, ports: dict[str, Any], fill: Callable[[Module, Any], None]) -> None:
        self.fill = fill
        super().__init__(ports)

    def elaborate(self, platform) -> Module:
        m = Module()
        self.fill(m, self)
        return m
