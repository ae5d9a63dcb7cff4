"""Areas of modules: each counts as often as it occurs, memories in bits, and full adders as what is smallest."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from rtl.adders import Term, save_sum
from rtl.emit import to_rtlil
from rtl.library import Named
from scripts.cell_library import Library
from scripts.cells import ADDERS, map_to_cells
from scripts.module_areas import ABC, Area, module_areas
from sim.model import BuildFailed
from tests.synth.design import Design

pytest.importorskip("pyosys")


def inverters(m: Module, ports: Any) -> None:
    """Eight inverters, each with a register."""
    held = Signal(8, reset_less=True)
    m.d.sync += held.eq(~ports.i)
    m.d.comb += ports.o.eq(held)


def delayed(m: Module, ports: Any) -> None:
    """Two of them, one after the other, and a memory of 32 words."""
    inner: list[Any] = [Design({"i": In(8), "o": Out(8)}, inverters) for _ in range(2)]
    first, second = inner
    m.submodules.first, m.submodules.second = (Named(each, "inverters") for each in inner)
    m.submodules.words = words = memory.Memory(shape=8, depth=32, init=[])
    write, read = words.write_port(), words.read_port()
    m.d.comb += [first.i.eq(ports.i), second.i.eq(first.o), write.en.eq(1), write.data.eq(second.o)]
    m.d.comb += [write.addr.eq(ports.address), read.addr.eq(ports.address), ports.o.eq(read.data)]


def total(m: Module, ports: Any) -> None:
    """The sum of three numbers, by full adders and a chain of carries."""
    m.d.comb += ports.o.eq(save_sum(m, "row", [Term(ports.a), Term(ports.b), Term(ports.c)], 0, 6))


DELAYED = Design({"i": In(8), "address": In(5), "o": Out(8)}, delayed)
TOTAL = Design({"a": In(4), "b": In(4), "c": In(4), "o": Out(6)}, total)


def test_modules_count_as_often_as_they_occur_and_memories_in_bits(library: Library) -> None:
    found = module_areas(to_rtlil(DELAYED, "delayed"), "delayed", library)
    one = 8 * (library.cells["INV"].area + library.cells["DFF"].area)
    assert found == {"inverters": Area(one, 0), "delayed": Area(2 * one, 32 * 8)}


def test_the_smallest_of_all_attempts_counts(library: Library) -> None:
    rtlil = to_rtlil(TOTAL, "total")
    tried = [map_to_cells(rtlil, "total", library, adders=ADDERS[:1], scripts=[script]).area for script in ABC]
    least, most = sorted(tried)
    found = module_areas(rtlil, "total", library)["total"].um2
    assert found == pytest.approx(least, rel=0.02)  # what is flat, ABC sees in another order
    assert found < (least + most) / 2


def test_what_yosys_refuses_is_named(library: Library) -> None:
    with pytest.raises(BuildFailed, match="component 'missing': Yosys failed: "):
        module_areas("module \\some\nend\n", "missing", library)


def test_a_library_without_registers_is_refused(library: Library) -> None:
    cells = {name: cell for name, cell in library.cells.items() if name != "DFF"}
    with pytest.raises(BuildFailed, match="component 'delayed': mini has no cell for DFF"):
        module_areas(to_rtlil(DELAYED, "delayed"), "delayed", dataclasses.replace(library, cells=cells))
