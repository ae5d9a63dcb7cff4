"""Buffers for nets of a mapped netlist that have more sinks than their drivers may drive."""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from scripts.cell_library import Cell, Library
from scripts.timing import wire_default
from sim.gates import Net


@dataclasses.dataclass(frozen=True)
class Sink:
    """An input pin of a cell."""

    connections: dict[str, list[Net]]
    """of the cell"""
    pin: str
    load: float
    """fF, with a wire to it"""


def limit(cell: Cell) -> float:
    """fF that a buffer may drive."""
    return cell.pins[cell.outputs[0]].max_capacitance


def bundles(sinks: Sequence[float], most: float) -> list[int]:
    """How many of the sinks, in their order, one driver after the other can take; each takes one at least."""
    counts: list[int] = []
    left = 0.0
    for load in sinks:
        if not counts or load > left:
            counts.append(0)
            left = most
        counts[-1] += 1
        left -= load
    return counts


def cheapest(library: Library, sinks: Sequence[float]) -> tuple[Cell, list[int]]:
    """The buffers of one kind that take the least area to drive some loads, and how many loads each of them drives."""
    if not library.buffers:
        raise ValueError(f"{library.path}: the library {library.name!r} has no buffer")
    choices = [(cell, bundles(sinks, limit(cell))) for cell in library.buffers]
    return min(choices, key=lambda choice: choice[0].area * len(choice[1]))


def buffer(module: dict[str, Any], library: Library) -> None:
    """Adds buffers to a module of Yosys's JSON until no net has a load above the max_capacitance of its driver.

    An input port is taken for the smallest buffer. Clocks are left as they are. Which value a net has stays the same.
    """
    wire = wire_default(library)
    sinks: dict[Net, list[Sink]] = defaultdict(list)
    ports: dict[Net, float] = defaultdict(float)  # of fF
    limits: dict[Net, float] = {}
    for port in module["ports"].values():
        for net in port["bits"]:
            if port["direction"] == "output":
                ports[net] += 2 * wire
            elif library.buffers:
                limits[net] = limit(library.buffers[0])
    for cell in module["cells"].values():
        kind = library.cells[cell["type"]]
        for name, nets in cell["connections"].items():
            pin = kind.pins[name]
            for net in nets:
                if pin.direction == "output":
                    limits[net] = pin.max_capacitance
                elif name != kind.clock:
                    sinks[net].append(Sink(cell["connections"], name, pin.capacitance + wire))
    unused = itertools.count(1 + max((net for net in (*limits, *sinks) if isinstance(net, int)), default=0))
    for net, most in limits.items():
        while len(sinks[net]) > 1 and sum(sink.load for sink in sinks[net]) + ports[net] > most:
            level = split(module, library, sinks[net], net, unused)
            if len(level) == len(sinks[net]):
                break
            sinks[net] = level


def split(module: dict[str, Any], library: Library, sinks: list[Sink], net: Net, unused: Iterator[int]) -> list[Sink]:
    """Puts a level of buffers between a net and its sinks; returns the inputs of the buffers."""
    cell, counts = cheapest(library, [sink.load for sink in sinks])
    entering, leaving = cell.inputs[0], cell.outputs[0]
    level, rest = [], iter(sinks)
    for count in counts:
        driven = next(unused)
        connections: dict[str, list[Net]] = {entering: [net], leaving: [driven]}
        module["cells"][f"buffer_{driven}"] = {"type": cell.name, "connections": connections}
        for _ in range(count):
            sink = next(rest)
            sink.connections[sink.pin] = [driven]
        level.append(Sink(connections, entering, cell.pins[entering].capacitance + wire_default(library)))
    return level
