"""Mapping to standard cells: what is mapped computes the same, and its delay and energy are those computed by hand."""

from __future__ import annotations

import functools
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib.wiring import In, Out

from rtl.adders import CarrySave, Term, save_sum
from rtl.emit import to_rtlil
from rtl.library import Named
from scripts import yosys
from scripts.cell_library import Library
from scripts.cells import ADDERS, SCRIPTS, CellNetlist, map_to_cells, rtlil_to_gates
from scripts.energy import energy
from scripts.liberty import read
from scripts.timing import arrival, typical_slew, wire_default
from sim.gates import GENERIC, evaluate, toggles, transposed
from sim.model import BuildFailed
from sim.tools import ToolMissing
from tests.synth.design import Design

pytest.importorskip("pyosys")

MINI = Path(__file__).with_name("mini.lib")
QUICK = ("dch-amap",)
"""A script of ABC, where it does not matter which."""


# Mapping


def adder(m: Module, ports: Any) -> None:
    m.d.comb += ports.out.eq(ports.a + ports.b)


def tree(m: Module, ports: Any) -> None:
    """a + 2 b - a b[0] + a[0] + 5, by rows of full adders."""
    terms = [
        Term(ports.a),
        Term(ports.b, 1),
        Term((ports.a & ports.b[0].replicate(4))[:4].as_signed(), 0, negative=True),
    ]
    m.d.comb += ports.out.eq(save_sum(m, "rows", [*terms, Term(ports.a[0])], 5, 7))


def product(m: Module, ports: Any) -> None:
    """a b of two cycles ago, where a and b are held unless enabled; the product starts at -3."""
    a, b, out = Signal(signed(4)), Signal(signed(4)), Signal(signed(7), init=-3)
    with m.If(ports.enable):
        m.d.sync += [a.eq(ports.a), b.eq(ports.b)]
    m.d.sync += out.eq(a * b)
    m.d.comb += ports.out.eq(out)


OPERANDS = {"a": In(signed(4)), "b": In(signed(4)), "out": Out(signed(7))}
RTLIL = {
    "adder": to_rtlil(Design(OPERANDS, adder), "adder"),
    "tree": to_rtlil(Design(OPERANDS, tree), "tree"),
    "product": to_rtlil(Design(OPERANDS | {"enable": In(1)}, product), "product"),
}


def stimuli(name: str) -> tuple[dict[str, list[int]], list[int]]:
    """All inputs of a design, in random order, and what they must give; of the product, in such an order with holes."""
    pairs = list(itertools.product(range(-8, 8), repeat=2))
    random.Random(name).shuffle(pairs)
    inputs = {"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}
    if name == "adder":
        return inputs, [(a + b) % 128 for a, b in pairs]
    if name == "tree":
        return inputs, [(a + 2 * b - (a if b & 1 else 0) + (a & 1) + 5) % 128 for a, b in pairs]
    inputs |= {"enable": [random.Random(n).randrange(2) for n in range(len(pairs))], "rst": [0] * len(pairs)}
    expected, held, out = [], (0, 0), -3
    for pair, enable in zip(pairs, inputs["enable"], strict=True):
        expected.append(out % 128)
        out = held[0] * held[1]
        held = pair if enable else held
    return inputs, expected


@functools.cache
def mapped(name: str, adders: str = "cells") -> CellNetlist:
    return map_to_cells(RTLIL[name], name, read(MINI), adders=[adders], scripts=QUICK)


@pytest.mark.parametrize("adders", ADDERS)
@pytest.mark.parametrize("name", RTLIL)
def test_what_is_mapped_computes_the_same(library: Library, name: str, adders: str) -> None:
    netlist = mapped(name, adders)
    inputs, expected = stimuli(name)
    assert evaluate(netlist.netlist, library.gates, inputs)["out"] == expected
    assert (netlist.cells.get("FA", 0) > 0) == (adders == "cells" and name != "adder")
    assert netlist.cells.get("DFF", 0) == (15 if name == "product" else 0)
    assert netlist.area == sum(library.cells[cell].area * number for cell, number in netlist.cells.items())
    assert netlist.met and netlist.delay_ns > 0 and 0 < netlist.levels < sum(netlist.cells.values())


@pytest.mark.parametrize("name", RTLIL)
def test_gates_need_no_library(name: str) -> None:
    inputs, expected = stimuli(name)
    assert evaluate(rtlil_to_gates(RTLIL[name], name), GENERIC, inputs)["out"] == expected


def test_every_wrong_cell_is_seen(library: Library) -> None:
    """Each cell in turn becomes another one with the same pins."""
    swap = {"NAND2": "NOR2", "NOR2": "XOR2", "XOR2": "NAND2", "INV": "BUF", "BUF": "INV"}
    module = mapped("adder").netlist
    inputs, expected = stimuli("adder")
    wrong = {name: cell["type"] for name, cell in module["cells"].items() if cell["type"] in swap}
    assert len(wrong) > 5
    for name, kind in wrong.items():
        broken = module | {"cells": module["cells"] | {name: module["cells"][name] | {"type": swap[kind]}}}
        assert evaluate(broken, library.gates, inputs)["out"] != expected, (name, kind)


@pytest.mark.parametrize("constants", [0b000000, 0b000001, 0b100000, 0b001011, 0b010101, 0b011110, 0b111100])
def test_only_adders_without_constant_inputs_become_cells(library: Library, constants: int) -> None:
    """Of a carry_save_2; the constant has a bit for every bit of its inputs, and ones and zeros take turns."""
    bits = {name: [2 * k + n for n in range(2)] for k, name in enumerate("abc")}

    def fill(m: Module, ports: Any) -> None:
        m.submodules.row = Named(row := CarrySave(2), "carry_save_2")
        for name, numbers in bits.items():
            for n, number in enumerate(numbers):
                m.d.comb += getattr(row, name)[n].eq(number & 1 if constants >> number & 1 else getattr(ports, name)[n])
        m.d.comb += [getattr(ports, name).eq(getattr(row, name)) for name in ("sum", "carry")]

    rtlil = to_rtlil(Design({name: In(2) for name in bits} | {"sum": Out(2), "carry": Out(2)}, fill), "row")
    netlist = map_to_cells(rtlil, "row", library, adders=["cells"], scripts=QUICK)
    values = list(itertools.product(range(4), repeat=3))
    found = evaluate(netlist.netlist, library.gates, {name: [v[k] for v in values] for k, name in enumerate("abc")})
    for value, total, carry in zip(values, found["sum"], found["carry"], strict=True):
        for n in range(2):
            inputs = (
                number & 1 if constants >> number & 1 else value[k] >> n & 1
                for k, number in enumerate(numbers[n] for numbers in bits.values())
            )
            assert sum(inputs) == (total >> n & 1) + 2 * (carry >> n & 1)
    whole = sum(not any(constants >> numbers[n] & 1 for numbers in bits.values()) for n in range(2))
    assert netlist.cells.get("FA", 0) == whole


def test_a_library_without_full_adders_gets_gates(tmp_path: Path) -> None:
    text = MINI.read_text()
    start = text.index("\n  cell (FA) {")
    path = tmp_path / "other.lib"
    path.write_text(text[:start] + text[text.index("\n  }\n", start) + 5 :])
    netlist = map_to_cells(RTLIL["tree"], "tree", read(path), scripts=QUICK)
    assert (netlist.adders, list(netlist.tried)) == ("gates", ["gates, dch-amap"])
    # The same name elsewhere is another library: nothing of the first is kept.
    path.write_text(MINI.read_text().replace("cell (INV)", "cell (NOT)"))
    netlist = map_to_cells(RTLIL["tree"], "tree", read(path), adders=["cells"], scripts=QUICK)
    assert netlist.cells["NOT"] and netlist.cells["FA"]


def test_the_smallest_that_is_fast_enough_is_taken(library: Library) -> None:
    free = map_to_cells(RTLIL["tree"], "tree", library)
    assert set(free.tried) <= {f"{way}, {script}" for way in ADDERS for script in SCRIPTS}
    assert len(free.tried) > len(SCRIPTS)
    assert (free.area, free.delay_ns) == min(free.tried.values()) == free.tried[f"{free.adders}, {free.script}"]
    fastest = min(delay for _, delay in free.tried.values())
    hurried = map_to_cells(RTLIL["tree"], "tree", library, clock_ns=0.001)
    assert not hurried.met and hurried.delay_ns == min(delay for _, delay in hurried.tried.values())
    relaxed = map_to_cells(RTLIL["tree"], "tree", library, clock_ns=fastest + 0.001)
    fits = [(area, delay) for area, delay in relaxed.tried.values() if delay <= fastest + 0.001]
    assert relaxed.met == bool(fits) and (relaxed.area, relaxed.delay_ns) in (fits or relaxed.tried.values())
    assert all(area >= relaxed.area for area, _ in fits)


def test_what_fails_is_left_out_unless_all_does(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCRIPTS, "wrong", "strash; nonsense")
    netlist = map_to_cells(RTLIL["adder"], "adder", library, adders=["gates"], scripts=["wrong", *QUICK])
    assert list(netlist.tried) == ["gates, dch-amap"]
    with pytest.raises(BuildFailed, match=r"component 'adder': Yosys failed: .*ERROR"):
        map_to_cells(RTLIL["adder"], "adder", library, scripts=["wrong"])
    with pytest.raises(BuildFailed, match="component 'top': Yosys failed: ERROR"):
        rtlil_to_gates("nonsense", "top")
    monkeypatch.setattr(yosys.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match=r"pip install -e \.\[synth\]"):
        rtlil_to_gates("", "top")


# Netlists by hand


def module(inputs: str, outputs: str, *lines: str) -> dict[str, Any]:
    """A module as in Yosys's JSON. Nets are letters; a line is a cell's type and the nets on its pins."""
    nets: dict[str, int | str] = {"0": "0", "1": "1"}
    parts = [line.split() for line in lines]
    for net in [*inputs, *outputs, *(connection.split("=")[1] for part in parts for connection in part[1:])]:
        nets.setdefault(net, len(nets))
    ports = {name: {"direction": "input", "bits": [nets[name]]} for name in inputs}
    ports |= {name: {"direction": "output", "bits": [nets[name]]} for name in outputs}
    return {
        "ports": ports,
        "cells": {
            f"cell_{n}": {"type": kind, "connections": {c.split("=")[0]: [nets[c.split("=")[1]]] for c in connections}}
            for n, (kind, *connections) in enumerate(parts)
        },
    }


CHAIN = module("ab", "y", "INV A=a Y=p", "NAND2 A=p B=b Y=q", "INV A=q Y=y", "INV A=q Y=r")
PULSE = module("a", "y", "BUF A=a Y=p", "BUF A=p Y=q", "XOR2 A=a B=q Y=y")
REGISTER = module("d", "y", "DFF D=d CK=d Q=q QN=n", "INV A=q Y=y")


def test_arrival_is_that_computed_by_hand(library: Library) -> None:
    timing = arrival(CHAIN, library, input_slew=0.05, output_load=10, wire_capacitance=1)
    # Rising at y from falling at q, rising at p, falling at a: loads 3 (NAND2 and its wire), 6 (two of INV) and 11.
    p = 0.010 + 0.05 / 10 + 3 / 1000
    q = p + 0.012 + (0.010 + 3 / 500) / 10 + 6 / 1000
    y = q + 0.010 + (0.006 + 6 / 500) / 10 + 11 / 1000
    assert (timing.delay, timing.levels, timing.path) == (pytest.approx(y), 3, ("INV", "NAND2", "INV"))
    register = arrival(REGISTER, library, input_slew=0.05, output_load=10, wire_capacitance=1)
    q = 0.080 + 0.05 / 10 + 3 / 1000
    y = q + 0.010 + (0.006 + 3 / 500) / 10 + 11 / 1000
    y_falling = q + 0.008 + (0.010 + 3 / 500) / 10 + 11 / 1000
    assert register.delay == pytest.approx(max(y - 0.002, y_falling))
    assert (register.levels, register.path) == (1, ("DFF", "INV"))
    slow = module("d", "", "BUF A=d Y=p", "DFF D=p CK=d Q=q")
    assert arrival(slow, library, 0.05, 10, 1).delay == pytest.approx(0.030 + 0.05 / 10 + 3 / 1000 + 0.03)


def test_timing_has_defaults(library: Library) -> None:
    assert wire_default(library) == 2.0
    assert typical_slew(library) == pytest.approx((0.010 + 0.006) / 2 + 4 * (2 + 2) / 500)
    assert arrival(CHAIN, library) == arrival(CHAIN, library, typical_slew(library), 2.0, 2.0)


def test_toggles_are_those_counted_by_hand(library: Library) -> None:
    """y = a ^ a settles at 0, but has a pulse of two units whenever a changes."""
    nets = {
        name: PULSE["cells"][cell]["connections"][pin][0]
        for name, cell, pin in (("a", "cell_0", "A"), ("p", "cell_0", "Y"), ("q", "cell_1", "Y"), ("y", "cell_2", "Y"))
    }
    found = toggles(PULSE, library.gates, {"a": [0, 1, 0, 0, 1]})
    assert found.cycles == 4
    assert [found.settled[nets[name]] for name in "apqy"] == [3, 3, 3, 0]
    assert [found.total[nets[name]] for name in "apqy"] == [3, 3, 3, 6]


def test_toggles_with_registers(library: Library) -> None:
    found = toggles(REGISTER, library.gates, {"d": [1, 0, 1, 1, 0, 0]})  # q: 0 1 0 1 1 0
    q, y = (REGISTER["cells"][cell]["connections"][pin][0] for cell, pin in (("cell_0", "Q"), ("cell_1", "Y")))
    assert found.settled[q] == found.settled[y] == found.total[y] == 4


def test_glitches_are_at_least_the_settled_changes(library: Library) -> None:
    inputs, _ = stimuli("product")
    found = toggles(mapped("product").netlist, library.gates, inputs)
    assert all(found.total[net] >= number for net, number in found.settled.items())
    assert sum(found.total.values()) > sum(found.settled.values())
    assert all((found.total[net] - number) % 2 == 0 for net, number in found.settled.items())


def test_energy_is_that_computed_by_hand(library: Library) -> None:
    inverter = module("a", "y", "INV A=a Y=y")
    found = energy(inverter, library, toggles(inverter, library.gates, {"a": [0, 1, 0, 1]}), 0.05, 10, 1)
    # In every step a changes, with a load of 2 + 1, and y, with one of 10 + 1 and 1 fJ within.
    assert (found.settled, found.glitches, found.clock) == (pytest.approx(3 / 2 + 11 / 2 + 1), 0, 0)
    found = energy(REGISTER, library, toggles(REGISTER, library.gates, {"d": [0, 0, 0]}), 0.05, 10, 1)
    assert (found.settled, found.clock) == (0, pytest.approx(2 * (3.5 / 2 + 0.5)))
    pulse = energy(PULSE, library, toggles(PULSE, library.gates, {"a": [0, 1]}), 0.05, 10, 1)
    assert pulse.glitches == pytest.approx(2 * (11 / 2 + 3))
    assert pulse.total == pulse.settled + pulse.glitches
    with pytest.raises(ValueError, match="more than one cycle"):
        energy(PULSE, library, toggles(PULSE, library.gates, {"a": [0]}))


def test_energy_adds_up(library: Library) -> None:
    """Two netlists side by side take what they take one by one."""
    first, second = mapped("adder").netlist, mapped("product").netlist
    shift = 10_000

    def moved(bits: list[Any]) -> list[Any]:
        return [bit if isinstance(bit, str) else bit + shift for bit in bits]

    both = {
        "ports": first["ports"]
        | {f"{name}_2": port | {"bits": moved(port["bits"])} for name, port in second["ports"].items()},
        "cells": first["cells"]
        | {
            f"{name}_2": cell | {"connections": {pin: moved(bits) for pin, bits in cell["connections"].items()}}
            for name, cell in second["cells"].items()
        },
    }
    inputs = [stimuli(name)[0] for name in ("adder", "product")]
    together = inputs[0] | {f"{name}_2": values for name, values in inputs[1].items()}
    one, two, sum_ = (
        energy(netlist, library, toggles(netlist, library.gates, given))
        for netlist, given in ((first, inputs[0]), (second | {"netnames": {}}, inputs[1]), (both, together))
    )
    for field in ("settled", "glitches", "total"):
        assert 0 < getattr(one, field) < getattr(sum_, field)
        assert getattr(sum_, field) == pytest.approx(getattr(one, field) + getattr(two, field))
    assert sum_.clock == pytest.approx(two.clock)
    assert one.clock == 0


@pytest.mark.parametrize(
    ("netlist", "inputs", "message"),
    [
        (module("a", "y", "INV A=y Y=p", "INV A=p Y=y"), {"a": [0]}, "cells form a loop: cell_"),
        (module("a", "y", "OOPS A=a Y=y"), {"a": [0]}, "cell cell_0: the function of OOPS is not known"),
        (module("a", "y", "NAND2 A=a Y=y"), {"a": [0]}, "not all inputs of NAND2 are connected"),
        (CHAIN, {"a": [0]}, "is needed, but"),
        (CHAIN, {"a": [0], "b": [0, 1]}, "as many values of each"),
        (CHAIN, {}, "as many values of each"),
        (CHAIN, {"a": [0], "y": [0]}, "input 'y': must be one of a, b"),
        (CHAIN, {"a": [2], "b": [0]}, "input 'a': a value does not fit into 1 bits"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error(
    library: Library, netlist: dict[str, Any], inputs: dict[str, list[int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(netlist, library.gates, inputs)


def test_generic_gates_are_yosyss() -> None:
    """The truth table of each, with A as the lowest bit, as simcells.v has them."""
    tables = {
        "BUF": 0b10, "NOT": 0b01, "AND": 0b1000, "NAND": 0b0111, "OR": 0b1110, "NOR": 0b0001, "XOR": 0b0110,
        "XNOR": 0b1001, "ANDNOT": 0b0010, "ORNOT": 0b1011, "MUX": 0b11001010, "NMUX": 0b00110101,
        "AOI3": 0b00000111, "OAI3": 0b00011111, "AOI4": 0x0777, "OAI4": 0x111F,
    }  # fmt: skip
    assert {f"$_{name}_" for name in tables} == set(GENERIC) - {"$_DFF_P_"}
    for name, table in tables.items():
        f = GENERIC[f"$_{name}_"].outputs["Y"]
        columns = transposed(range(1 << len(f.inputs)), len(f.inputs))
        assert f.operate(*columns) & ((1 << (1 << len(f.inputs))) - 1) == table, name
