"""Libraries of standard cells: what the cells compute, take, load and cost.

Figures are in ns, fF, fJ, nW and um^2. A library is asked for what a cell computes, never for its name: see
Library.full_adder and its like.
"""

from __future__ import annotations

import dataclasses
import functools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

from sim.gates import Function, Gate


@dataclasses.dataclass(frozen=True)
class Table:
    """A figure by the input's slew in ns and the output's load in fF, linear between its points and beyond them."""

    slews: tuple[float, ...]
    loads: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    """a row for every slew"""

    def at(self, slew: float, load: float) -> float:
        """The figure at a point."""
        x, y = self.slews, self.loads
        i, j = min(bisect_right(x, slew, 1), len(x) - 1), min(bisect_right(y, load, 1), len(y) - 1)
        u = (slew - x[i - 1]) / (x[i] - x[i - 1]) if i else 0.0
        v = (load - y[j - 1]) / (y[j] - y[j - 1]) if j else 0.0
        below, above = self.values[i - 1], self.values[i]
        return (below[j - 1] * (1 - v) + below[j] * v) * (1 - u) + (above[j - 1] * (1 - v) + above[j] * v) * u


@dataclasses.dataclass(frozen=True)
class Arc:
    """How an output follows an input. Tables are missing if the output never changes that way."""

    related: str
    """the input"""
    sense: str
    """positive_unate, negative_unate or non_unate; clocked arcs count as the last"""
    rise: Table | None
    """ns until the output has risen"""
    fall: Table | None
    rise_slew: Table | None
    """ns that the output takes to rise"""
    fall_slew: Table | None


@dataclasses.dataclass(frozen=True)
class Pin:
    """A pin of a cell."""

    name: str
    direction: str
    capacitance: float
    """fF"""
    max_capacitance: float
    """fF that an output may drive"""
    function: Function | None
    """of an output, of the inputs and, in a flip-flop, of its state"""
    energy: Table | None
    """fJ within the cell for a change of the pin, the mean of both directions and of all conditions"""
    arcs: tuple[Arc, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell; `gate` is missing if it is neither combinational nor a flip-flop, or has an output without a function."""

    name: str
    area: float
    """um^2"""
    leakage: float
    """nW"""
    pins: Mapping[str, Pin]
    gate: Gate | None
    sequential: bool
    clock: str
    """the clock pin of a flip-flop"""
    falling: bool
    """whether it takes its next state on the falling edge"""
    setup: float
    """ns, the mean of all that is said about it"""

    @property
    def inputs(self) -> list[str]:
        """The pins that are inputs."""
        return [name for name, pin in self.pins.items() if pin.direction == "input"]

    @property
    def outputs(self) -> list[str]:
        """The pins that are outputs."""
        return [name for name, pin in self.pins.items() if pin.direction == "output"]


@dataclasses.dataclass(frozen=True)
class Adder:
    """A cell that adds bits, and its pins."""

    cell: Cell
    inputs: tuple[str, ...]
    sum: str
    carry: str


@dataclasses.dataclass(frozen=True)
class Library:
    """The cells of a Liberty file."""

    name: str
    path: Path
    voltage: float
    """V"""
    cells: Mapping[str, Cell]

    @functools.cached_property
    def gates(self) -> dict[str, Gate]:
        """What the cells compute, of those of which it is known."""
        return {cell.name: cell.gate for cell in self.cells.values() if cell.gate}

    @functools.cached_property
    def inverter(self) -> Cell:
        """The smallest inverter; ValueError if there is none."""
        found = self._smallest(1, 0b01)
        if not found:
            raise ValueError(f"{self.path}: the library {self.name!r} has no inverter")
        return found[0]

    @functools.cached_property
    def buffers(self) -> tuple[Cell, ...]:
        """All buffers, the smallest first."""
        return tuple(self._smallest(1, 0b10))

    @functools.cached_property
    def full_adder(self) -> Adder | None:
        """The smallest cell of three inputs whose outputs are their sum and their carry."""
        return self._adder(3, 0b10010110, 0b11101000)

    @functools.cached_property
    def half_adder(self) -> Adder | None:
        """The smallest cell of two inputs whose outputs are their sum and their carry."""
        return self._adder(2, 0b0110, 0b1000)

    @functools.cached_property
    def flip_flop(self) -> Cell | None:
        """The flip-flop for the rising edge that has the fewest inputs, and of these the smallest."""
        flops = (cell for cell in self.cells.values() if cell.gate and cell.gate.next_state and not cell.falling)
        return min(flops, key=lambda cell: (len(cell.inputs), cell.area, cell.name), default=None)

    def _smallest(self, inputs: int, *tables: int) -> list[Cell]:
        """The combinational cells whose outputs have these truth tables, in any order, by their area."""
        found = [
            cell
            for cell in self.cells.values()
            if cell.gate and not cell.sequential and len(cell.inputs) == inputs
            if any(
                tuple(truth(f, cell.inputs) for f in order) == tables
                for order in permutations(cell.gate.outputs.values())
            )
        ]
        return sorted(found, key=lambda cell: (cell.area, cell.name))

    def _adder(self, inputs: int, total: int, carry: int) -> Adder | None:
        for cell in self._smallest(inputs, total, carry)[:1]:
            assert cell.gate
            pins = {truth(f, cell.inputs): pin for pin, f in cell.gate.outputs.items()}
            return Adder(cell, tuple(cell.inputs), pins[total], pins[carry])
        return None


def truth(f: Function, order: Sequence[str]) -> int:
    """The truth table of a function: bit n is its value where bit k of n is the value of the k-th input."""
    rows = range(1 << len(order))
    words = {name: sum((row >> k & 1) << row for row in rows) for k, name in enumerate(order)}
    return f.operate(*(words[name] for name in f.inputs)) & ((1 << len(rows)) - 1)


def mean(tables: Sequence[Table]) -> Table:
    """The mean of tables, at the points of the largest."""
    largest = max(tables, key=lambda table: len(table.slews) * len(table.loads))
    return dataclasses.replace(
        largest,
        values=tuple(
            tuple(sum(table.at(slew, load) for table in tables) / len(tables) for load in largest.loads)
            for slew in largest.slews
        ),
    )
