"""Netlists of gates and library cells: what they compute, and how often their nets change.

A module is as Yosys's JSON has it, flat. All cycles are evaluated at once: the values of a net are the bits of one
integer, that of the first cycle being bit 0. What a type of cell computes is the caller's to say; GENERIC has Yosys's
own.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

STATE = "state"
"""The input of a flip-flop's functions that is the value it holds."""

Net = int | str
"""A bit of a module: the number that Yosys gave it, or a constant."""


@dataclasses.dataclass(frozen=True)
class Function:
    """A Boolean function of named inputs, on many values at once."""

    inputs: tuple[str, ...]
    operate: Callable[..., int]
    """of one integer for each input, in this order, bit by bit; an inversion may give a negative number"""


@dataclasses.dataclass(frozen=True)
class Gate:
    """What a type of cell computes. A flip-flop takes its next state in every cycle, whatever its clock."""

    outputs: Mapping[str, Function]
    next_state: Function | None = None


def _two(operate: Callable[[int, int], int]) -> Gate:
    return Gate({"Y": Function(("A", "B"), operate)})


GENERIC: dict[str, Gate] = {
    "$_BUF_": Gate({"Y": Function(("A",), lambda a: a)}),
    "$_NOT_": Gate({"Y": Function(("A",), lambda a: ~a)}),
    "$_AND_": _two(lambda a, b: a & b),
    "$_NAND_": _two(lambda a, b: ~(a & b)),
    "$_OR_": _two(lambda a, b: a | b),
    "$_NOR_": _two(lambda a, b: ~(a | b)),
    "$_XOR_": _two(lambda a, b: a ^ b),
    "$_XNOR_": _two(lambda a, b: ~(a ^ b)),
    "$_ANDNOT_": _two(lambda a, b: a & ~b),
    "$_ORNOT_": _two(lambda a, b: a | ~b),
    "$_MUX_": Gate({"Y": Function(("A", "B", "S"), lambda a, b, s: (b & s) | (a & ~s))}),
    "$_NMUX_": Gate({"Y": Function(("A", "B", "S"), lambda a, b, s: ~((b & s) | (a & ~s)))}),
    "$_AOI3_": Gate({"Y": Function(("A", "B", "C"), lambda a, b, c: ~((a & b) | c))}),
    "$_OAI3_": Gate({"Y": Function(("A", "B", "C"), lambda a, b, c: ~((a | b) & c))}),
    "$_AOI4_": Gate({"Y": Function(("A", "B", "C", "D"), lambda a, b, c, d: ~((a & b) | (c & d)))}),
    "$_OAI4_": Gate({"Y": Function(("A", "B", "C", "D"), lambda a, b, c, d: ~((a | b) & (c | d)))}),
    "$_DFF_P_": Gate({"Q": Function((STATE,), lambda state: state)}, Function(("D",), lambda d: d)),
}
"""Yosys's gates, with the one flip-flop that `dfflegalize -cell $_DFF_P_ 01` leaves."""


@dataclasses.dataclass(frozen=True)
class Instance:
    """A cell of a module, with the net on each of its pins."""

    name: str
    kind: str
    nets: Mapping[str, Net]


@dataclasses.dataclass(frozen=True)
class Toggles:
    """How often each net changes in a simulation."""

    cycles: int
    """steps from one cycle to the next: one less than there are cycles"""
    settled: Mapping[Net, int]
    """changes between the values that the nets settle at"""
    total: Mapping[Net, int]
    """all changes if every cell takes the same time, so with glitches"""


class Network:
    """A module's cells, in an order in which every net is known before it is needed.

    ValueError if the function of a cell is not known or one of its inputs not connected, or if cells form a loop.
    """

    def __init__(self, module: Mapping[str, Any], gates: Mapping[str, Gate]) -> None:
        self.gates = gates
        self.ports: dict[str, list[Net]] = {name: port["bits"] for name, port in module["ports"].items()}
        self.inputs = {name for name, port in module["ports"].items() if port["direction"] == "input"}
        cells = []
        self.flops: list[Instance] = []
        for name, cell in module["cells"].items():
            if cell["type"] not in gates:
                raise ValueError(f"cell {name}: the function of {cell['type']} is not known")
            gate = gates[cell["type"]]
            nets = {pin: net[0] for pin, net in cell["connections"].items() if net}
            functions = [f for pin, f in gate.outputs.items() if pin in nets]
            for f in (*functions, gate.next_state) if gate.next_state else functions:
                if not {*f.inputs} <= {*nets, STATE}:
                    raise ValueError(f"cell {name}: not all inputs of {cell['type']} are connected")
            (self.flops if gate.next_state else cells).append(Instance(name, cell["type"], nets))
        self.cells = self._ordered(cells)
        self.initial: dict[Net, int] = {
            net: int(value)
            for wire in module.get("netnames", {}).values()
            for net, value in zip(wire["bits"], reversed(wire["attributes"].get("init", "")), strict=False)
            if value in "01"
        }
        """of the nets that flip-flops drive; all others start at 0"""

    def driven(self, cell: Instance) -> list[tuple[Net, Function]]:
        """The nets that a cell drives, and the functions that it drives them by."""
        return [(cell.nets[pin], f) for pin, f in self.gates[cell.kind].outputs.items() if pin in cell.nets]

    def _ordered(self, cells: list[Instance]) -> list[Instance]:
        driver = {net: n for n, cell in enumerate(cells) for net, _ in self.driven(cell)}
        needed = {
            n: {driver[cell.nets[pin]] for _, f in self.driven(cell) for pin in f.inputs if cell.nets[pin] in driver}
            for n, cell in enumerate(cells)
        }
        try:
            return [cells[n] for n in TopologicalSorter(needed).static_order()]
        except CycleError as error:
            raise ValueError(f"cells form a loop: {', '.join(cells[n].name for n in error.args[1])}") from None

    def assigned(self, inputs: Mapping[str, Sequence[int]]) -> tuple[int, dict[Net, int]]:
        """The number of cycles, and the values of the constants and the module's inputs."""
        lengths = {len(values) for values in inputs.values()}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"inputs: as many values of each are needed, and at least one, not {sorted(lengths)}")
        cycles = lengths.pop()
        words: dict[Net, int] = {"0": 0, "1": (1 << cycles) - 1, "x": 0, "z": 0}
        for name, values in inputs.items():
            if name not in self.inputs:
                raise ValueError(f"input {name!r}: must be one of {', '.join(sorted(self.inputs))}")
            bits = self.ports[name]
            if not all(-(1 << len(bits) - 1) <= value < 1 << len(bits) for value in values):
                raise ValueError(f"input {name!r}: a value does not fit into {len(bits)} bits")
            words |= zip(bits, transposed(values, len(bits)), strict=True)
        return cycles, words

    def words(self, inputs: Mapping[str, Sequence[int]]) -> dict[Net, int]:
        """What every net settles at in each cycle.

        The states of flip-flops are found by repetition: every pass over the netlist makes at least one more cycle
        right, and a pipeline takes no more passes than it has stages. ValueError if a net is needed and not driven.
        """
        cycles, words = self.assigned(inputs)
        mask = (1 << cycles) - 1
        steps = [
            (net, f.operate, [cell.nets[pin] for pin in f.inputs])
            for cell in self.cells
            for net, f in self.driven(cell)
        ]
        initial = {cell.name: self._initial(cell) for cell in self.flops}
        states = dict(initial)
        try:
            while True:
                for cell in self.flops:
                    for net, f in self.driven(cell):
                        words[net] = _clocked(f, cell, words, states[cell.name]) & mask
                for net, operate, sources in steps:
                    words[net] = operate(*[words[source] for source in sources]) & mask
                following = {}
                for cell in self.flops:
                    f = self.gates[cell.kind].next_state
                    assert f is not None
                    taken = _clocked(f, cell, words, states[cell.name])
                    following[cell.name] = (taken << 1 | initial[cell.name]) & mask
                if following == states:
                    return words
                states = following
        except KeyError as error:
            raise ValueError(f"net {error} is needed, but no cell drives it and no given input") from None

    def _initial(self, cell: Instance) -> int:
        """The state that a flip-flop starts in; an output that is the state's complement starts at the contrary."""
        for net, f in self.driven(cell):
            if net in self.initial:
                return (self.initial[net] ^ f.operate(*[0] * len(f.inputs))) & 1
        return 0


def _clocked(f: Function, cell: Instance, words: Mapping[Net, int], state: int) -> int:
    """A function of a flip-flop's inputs and its state."""
    return f.operate(*[state if pin == STATE else words[cell.nets[pin]] for pin in f.inputs])


def evaluate(
    module: Mapping[str, Any], gates: Mapping[str, Gate], inputs: Mapping[str, Sequence[int]]
) -> dict[str, list[int]]:
    """The outputs of a module in each cycle, as numbers without sign, of its inputs in each cycle.

    Inputs may be negative; clocks need not be given. Flip-flops start at their initial value, or at 0 without one.
    What Network and its methods refuse is a ValueError.
    """
    network = Network(module, gates)
    words = network.words(inputs)
    cycles = len(next(iter(inputs.values())))
    return {
        name: transposed([words[bit] for bit in bits], cycles)
        for name, bits in network.ports.items()
        if name not in network.inputs
    }


def toggles(module: Mapping[str, Any], gates: Mapping[str, Gate], inputs: Mapping[str, Sequence[int]]) -> Toggles:
    """How often each net changes, with and without glitches, in a simulation as that of `evaluate`.

    Glitches are those of unit delays: at the start of a cycle the inputs and flip-flops change, and the outputs of a
    cell follow its inputs a unit later. All cycles go through this at once, each from where the one before settled.
    """
    network = Network(module, gates)
    words = network.words(inputs)
    cycles = len(next(iter(inputs.values()))) - 1
    mask = (1 << cycles) - 1
    after: dict[Net, int] = {net: word >> 1 for net, word in words.items() if not isinstance(net, str)}
    now: dict[Net, int] = {net: word & mask for net, word in words.items()}
    settled = {net: (now[net] ^ word).bit_count() for net, word in after.items()}

    steps = [
        (net, f.operate, [cell.nets[pin] for pin in f.inputs])
        for cell in network.cells
        for net, f in network.driven(cell)
    ]
    readers: dict[Net, list[int]] = defaultdict(list)
    for n, (_, _, sources) in enumerate(steps):
        for source in set(sources):
            readers[source].append(n)
    total: Counter[Net] = Counter()
    late = {net for net, _, _ in steps}
    changed = {net: word for net, word in after.items() if word != now[net] and net not in late}
    for _ in range(len(steps) + 1):
        for net, word in changed.items():
            total[net] += (word ^ now[net]).bit_count()
            now[net] = word
        if not changed:
            break
        woken = {n for net in changed for n in readers[net]}
        following = ((steps[n][0], steps[n][1](*[now[net] for net in steps[n][2]]) & mask) for n in woken)
        changed = {net: word for net, word in following if word != now[net]}
    if any(now[net] != word for net, word in after.items()):
        raise ValueError("the netlist does not settle")
    return Toggles(cycles, settled, total)


def transposed(rows: Sequence[int], bits: int) -> list[int]:
    """The columns of a matrix of bits: bit r of result c is bit c of row r, for rows of that many bits."""
    mask = (1 << bits) - 1
    columns = zip(*(format(row & mask, f"0{bits}b") for row in reversed(rows)), strict=True)
    return [int("".join(column), 2) for column in columns][::-1]
