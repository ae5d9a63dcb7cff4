"""Reads Liberty files: the cells in them, in our units, with what mapping, timing and energy need.

Areas have no unit there; in all libraries that we met they are in um^2.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from scripts.cell_library import Arc, Cell, Library, Pin, Table, mean, truth
from scripts.liberty_syntax import Group, function, parse
from sim.gates import STATE, Function, Gate

_EXPONENTS = {"": 0, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15}
_DELAYS = ("combinational", "rising_edge", "falling_edge")
_SETUP = ("setup_rising", "setup_falling")
_TABLES = ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
_LOAD = "total_output_net_capacitance"


def read(path: Path) -> Library:
    """The library in a file. A file that is missing, truncated or no Liberty file raises ValueError with the place."""
    group = parse(path)
    reader = _Reader(group)
    cells = [reader.cell(cell) for cell in group.all("cell")]
    if not cells:
        raise group.error("there are no cells")
    return Library(group.name, path, reader.voltage, {cell.name: cell for cell in cells})


class _Reader:
    """Turns the groups of a library into cells, in our units."""

    def __init__(self, library: Group) -> None:
        self.library = library
        self.voltage = library.number("nom_voltage")
        self.time = self._unit(library.values.get("time_unit", "1ns"), -9)
        self.capacitance = self._unit(library.values.get("capacitive_load_unit", "1,pf").replace(",", ""), -15)
        self.power = self._unit(library.values.get("leakage_power_unit", "1nW"), -9)
        # Energies have no unit of their own: with pF and V, they are in pF V^2 = pJ.
        self.energy = self.capacitance * self._unit(library.values.get("voltage_unit", "1V"), 0) ** 2
        self.templates = {group.name: group for group in library.all("lu_table_template", "power_lut_template")}

    def _unit(self, text: str, ours: int) -> float:
        """A unit such as 10ps, in ours, which is a power of ten."""
        match = re.fullmatch(r"\s*([\d.]+)\s*([munpf]?)[svwf]\s*", text.lower())
        if not match:
            raise self.library.error(f"{text!r} is not a unit")
        return float(match[1]) * 10.0 ** (_EXPONENTS[match[2]] - ours)

    def cell(self, group: Group) -> Cell:
        """A cell."""
        flop = next(group.all("ff"), None)
        pins = {pin.name: self.pin(pin, flop) for pin in group.all("pin")}
        outputs = {name: pin.function for name, pin in pins.items() if pin.function}
        setups = [
            value
            for pin in group.all("pin")
            for timing in pin.all("timing")
            if timing.values.get("timing_type") in _SETUP
            for table in timing.all("rise_constraint", "fall_constraint")
            for value in table.numbers("values")
        ]
        clock = _function(flop, "clocked_on") if flop else None
        cell = Cell(
            name=group.name,
            area=group.number("area"),
            leakage=group.number("cell_leakage_power", "0") * self.power,
            pins=pins,
            gate=Gate(outputs, _next_state(flop) if flop else None),
            sequential=any(group.all("ff", "ff_bank", "latch", "latch_bank", "statetable")),
            clock="".join(clock.inputs[:1]) if clock else "",
            falling=clock is not None and truth(clock, clock.inputs) == 0b01,
            setup=sum(setups) / max(1, len(setups)) * self.time,
        )
        known = all(pin.function or pin.direction == "input" for pin in pins.values()) and outputs
        return cell if known and cell.sequential == bool(flop) else dataclasses.replace(cell, gate=None)

    def pin(self, group: Group, flop: Group | None) -> Pin:
        """A pin of a cell. A tristate output has no function: what it computes is not all of it."""
        direction = group.values.get("direction", "")
        if direction not in ("input", "output", "inout", "internal"):
            raise group.error(f"direction must be input, output, inout or internal, not {direction!r}")
        limit = group.number("max_capacitance", self.library.values.get("default_max_capacitance", "inf"))
        powers = [
            self.table(table, self.energy)
            for power in group.all("internal_power")
            for table in power.all("rise_power", "fall_power", "power")
        ]
        return Pin(
            name=group.name,
            direction=direction,
            capacitance=group.number("capacitance", "0") * self.capacitance,
            max_capacitance=limit * self.capacitance,
            function=None if "three_state" in group.values else _function(group, "function", flop),
            energy=mean(powers) if powers else None,
            arcs=tuple(arc for timing in group.all("timing") for arc in self.arcs(timing)),
        )

    def arcs(self, group: Group) -> Iterator[Arc]:
        """The arcs of a group `timing`: none if it is a constraint, or about being set, cleared or let go."""
        kind = group.values.get("timing_type", "combinational")
        if kind not in _DELAYS:
            return
        tables = {kind: self.table(table, self.time) for kind in _TABLES for table in group.all(kind)}
        sense = group.values.get("timing_sense", "non_unate") if kind == "combinational" else "non_unate"
        for related in group.values.get("related_pin", "").split():
            yield Arc(related, sense, *(tables.get(kind) for kind in _TABLES))

    def table(self, group: Group, unit: float) -> Table:
        """A table of figures in a unit; what varies neither with the slew nor the load has one of these."""
        template = self.templates.get(group.name)
        axes: dict[str, list[float]] = {}
        for n in ("1", "2"):
            variable = template.values.get(f"variable_{n}") if template else None
            if variable:
                points = (group if f"index_{n}" in group.values else template or group).numbers(f"index_{n}")
                axes["load" if variable == _LOAD else "slew"] = points
        slews, loads = axes.get("slew", [0.0]), axes.get("load", [0.0])
        values = [value * unit for value in group.numbers("values")]
        if len(values) != len(slews) * len(loads):
            raise group.error(f"there must be {len(slews)} x {len(loads)} values, not {len(values)}")
        rows = [values[n : n + len(loads)] for n in range(0, len(values), len(loads))]
        if next(iter(axes), "slew") == "load":
            columns = [values[n : n + len(slews)] for n in range(0, len(values), len(slews))]
            rows = list(zip(*columns, strict=True))
        return Table(
            tuple(slew * self.time for slew in slews),
            tuple(load * self.capacitance for load in loads),
            tuple(map(tuple, rows)),
        )


def _function(group: Group, key: str, flop: Group | None = None) -> Function | None:
    """A Boolean function of a group; of a flip-flop's outputs, in terms of its state."""
    if key not in group.values:
        return None
    text = group.values[key]
    for name, ours in zip(flop.name.replace(",", " ").split() if flop else (), (STATE, f"(!{STATE})"), strict=False):
        text = re.sub(rf"\b{name}\b", ours, text)
    try:
        return function(text)
    except ValueError as error:
        raise group.error(f"{key} is {error}") from None


def _next_state(flop: Group) -> Function:
    """What a flip-flop takes; being cleared and being set count as if they waited for the clock."""
    clear, preset = (flop.values.get(key, "0") for key in ("clear", "preset"))
    taken = f"(({flop.values.get('next_state', '')}) & !({clear})) | ({preset})"
    found = _function(dataclasses.replace(flop, values={"next_state": taken}), "next_state", flop)
    assert found
    return found
