"""Static timing of a mapped netlist: the latest arrival at every net, from the delay tables of its cells.

Rising and falling are told apart, and slews go on from cell to cell. Where paths meet, the latest arrival and the
longest slew go on, even if of different paths. Wires are capacitances only; the clock reaches all flip-flops at once.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from scripts.cell_library import Library, Pin
from sim.gates import Instance, Net, Network

_SENSES = {"positive_unate": ((0, 0), (1, 1)), "negative_unate": ((0, 1), (1, 0))}
"""Edges of the input and, due to it, of the output: 0 is rising, 1 is falling."""
_ANY = ((0, 0), (0, 1), (1, 0), (1, 1))


@dataclasses.dataclass(frozen=True)
class Timing:
    """When a netlist is ready."""

    delay: float
    """ns from the inputs or the clock's edge to the outputs or, with setup time, the inputs of flip-flops"""
    levels: int
    """combinational cells on the path that has the most of them"""
    path: tuple[str, ...]
    """types of the cells along the slowest path"""


@dataclasses.dataclass(frozen=True)
class Arrival:
    """A change of a net, the latest of its direction."""

    time: float
    slew: float
    after: Arrival | None = None
    """what it follows"""
    cell: str = ""
    """the type of the cell between the two"""


_NEVER = Arrival(float("-inf"), 0.0)


def wire_default(library: Library) -> float:
    """fF of wire for every sink of a net, if nothing else is said: the capacitance of the smallest inverter's input."""
    return library.inverter.pins[library.inverter.inputs[0]].capacitance


def typical_slew(library: Library) -> float:
    """ns: the slew at the output of an inverter that drives four of its kind, and is itself driven by such a one."""
    load = 4 * (wire_default(library) + wire_default(library))
    arcs = [arc for pin in library.inverter.pins.values() for arc in pin.arcs]
    tables = [table for arc in arcs for table in (arc.rise_slew, arc.fall_slew) if table]
    slew = 0.0
    for _ in range(20):  # it converges in a few
        slew = sum(table.at(slew, load) for table in tables) / len(tables)
    return slew


def loads(network: Network, library: Library, wire_capacitance: float, output_load: float) -> dict[Net, float]:
    """fF on every net that is used: the pins of its sinks, and a wire to each. An output port is a sink, too."""
    found: dict[Net, float] = defaultdict(float)
    for cell in (*network.cells, *network.flops):
        for name in library.cells[cell.kind].inputs:
            if name in cell.nets:
                found[cell.nets[name]] += library.cells[cell.kind].pins[name].capacitance + wire_capacitance
    for name, bits in network.ports.items():
        for bit in bits if name not in network.inputs else ():
            found[bit] += output_load + wire_capacitance
    return found


def arrival(
    netlist: Mapping[str, Any],
    library: Library,
    input_slew: float | None = None,
    output_load: float | None = None,
    wire_capacitance: float | None = None,
) -> Timing:
    """The timing of a module of Yosys's JSON that consists of cells of the library.

    `input_slew` is in ns, the capacitances are in fF; by default they are typical_slew, an inverter's input at every
    output port, and wire_default for every sink.
    """
    start = Arrival(0.0, typical_slew(library) if input_slew is None else input_slew)
    wire = wire_default(library) if wire_capacitance is None else wire_capacitance
    network = Network(netlist, library.gates)
    load = loads(network, library, wire, wire_default(library) if output_load is None else output_load)
    edges: dict[Net, tuple[Arrival, Arrival]] = {
        bit: (start, start) for name in network.inputs for bit in network.ports[name]
    }
    levels: dict[Net, int] = dict.fromkeys(edges, 0)

    for cell in network.flops:
        clock = dict.fromkeys(cell.nets.values(), (start, start))
        for net, pin in _outputs(cell, library):
            edges[net], levels[net] = _latest(cell, pin, clock, load[net]), 0
    for cell in network.cells:
        depth = 1 + max((levels.get(net, 0) for net in cell.nets.values()), default=0)
        for net, pin in _outputs(cell, library):
            edges[net], levels[net] = _latest(cell, pin, edges, load[net]), depth

    ends: list[tuple[float, Net]] = [
        (0.0, bit) for name, bits in network.ports.items() if name not in network.inputs for bit in bits
    ]
    for cell in network.flops:
        kind = library.cells[cell.kind]
        ends += [(kind.setup, cell.nets[name]) for name in kind.inputs if name != kind.clock and name in cell.nets]
    ready = [(edge.time + setup, edge) for setup, net in ends for edge in edges.get(net, ())]
    delay, last = max(ready, key=lambda pair: pair[0], default=(0.0, start))
    return Timing(max(0.0, delay), max((levels.get(net, 0) for _, net in ends), default=0), tuple(_path(last)))


def _outputs(cell: Instance, library: Library) -> list[tuple[Net, Pin]]:
    """The nets that a cell drives, and its pins on them."""
    pins = library.cells[cell.kind].pins
    return [(net, pins[name]) for name, net in cell.nets.items() if pins[name].direction == "output"]


def _latest(
    cell: Instance, pin: Pin, edges: Mapping[Net, tuple[Arrival, Arrival]], load: float
) -> tuple[Arrival, Arrival]:
    """The latest rising and falling of an output of a cell."""
    found = [_NEVER, _NEVER]
    for arc in pin.arcs:
        source = edges.get(cell.nets.get(arc.related, ""))
        if not source:  # a constant
            continue
        tables = ((arc.rise, arc.rise_slew), (arc.fall, arc.fall_slew))
        for before, after in _SENSES.get(arc.sense, _ANY):
            delay, slew = tables[after]
            if delay is None or slew is None:
                continue
            cause, latest = source[before], found[after]
            time = cause.time + delay.at(cause.slew, load)
            longest = max(latest.slew, slew.at(cause.slew, load))
            found[after] = (
                Arrival(time, longest, cause, cell.kind)
                if time > latest.time
                else dataclasses.replace(latest, slew=longest)
            )
    return found[0], found[1]


def _path(last: Arrival) -> list[str]:
    """Types of the cells that a change has come through."""
    kinds = []
    while last.after:
        kinds.append(last.cell)
        last = last.after
    return kinds[::-1]
