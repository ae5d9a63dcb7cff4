"""Dynamic energy of a mapped netlist, from how often its nets change.

A change of a net takes half of C V^2 for all that hangs on it, and what the library says that the cells on it take
within, at one typical slew and the net's own load. Clocks are never gated: those of all flip-flops rise and fall in
every cycle, with a wire to each but without the buffers of a clock tree. Leakage is not counted.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from scripts.cell_library import Library
from scripts.timing import loads, typical_slew, wire_default
from sim.gates import Net, Network, Toggles


@dataclasses.dataclass(frozen=True)
class Energy:
    """fJ for each cycle."""

    settled: float
    """for changes between the values that nets settle at"""
    glitches: float
    """for all other changes of nets, if every cell takes the same time"""
    clock: float
    """at the clock pins of flip-flops"""

    @property
    def total(self) -> float:
        """All of it."""
        return self.settled + self.glitches + self.clock


def energy(
    netlist: Mapping[str, Any],
    library: Library,
    toggles: Toggles,
    slew: float | None = None,
    output_load: float | None = None,
    wire_capacitance: float | None = None,
) -> Energy:
    """The energy of a module of Yosys's JSON that consists of cells of the library, for each cycle of a simulation.

    `slew` is in ns, the capacitances are in fF; the defaults are those of scripts.timing.arrival. ValueError if the
    simulation has a single cycle.
    """
    if not toggles.cycles:
        raise ValueError("energy: a simulation of more than one cycle is needed")
    slew = typical_slew(library) if slew is None else slew
    wire = wire_default(library) if wire_capacitance is None else wire_capacitance
    network = Network(netlist, library.gates)
    load = loads(network, library, wire, wire_default(library) if output_load is None else output_load)
    charge = library.voltage**2 / 2  # fJ for each fF
    change: dict[Net, float] = defaultdict(float, {net: charge * capacitance for net, capacitance in load.items()})
    clock = 0.0
    for cell in (*network.cells, *network.flops):
        kind = library.cells[cell.kind]
        for name, net in cell.nets.items():
            pin = kind.pins[name]
            within = pin.energy.at(slew, load[net] if pin.direction == "output" else 0.0) if pin.energy else 0.0
            if name == kind.clock:
                clock += 2 * (charge * (pin.capacitance + wire) + within)
            else:
                change[net] += within
    settled = sum(change[net] * number for net, number in toggles.settled.items()) / toggles.cycles
    every = sum(change[net] * number for net, number in toggles.total.items()) / toggles.cycles
    return Energy(settled, every - settled, clock)
