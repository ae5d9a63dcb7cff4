"""Areas of modules: each counts as often as it occurs, memories in bits, and full adders as what is smallest."""

from __future__ import annotations

import dataclasses

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import Component, In, Out

from rtl.adders import Term, save_sum
from rtl.emit import to_rtlil
from rtl.library import Named
from scripts.cell_library import Library
from scripts.cells import map_to_cells
from scripts.module_areas import WAYS, Area, module_areas
from sim.model import BuildFailed

pytest.importorskip("pyosys")


class Inverters(Component):
    """Eight inverters, each with a register."""

    def __init__(self) -> None:
        super().__init__({"i": In(8), "o": Out(8)})

    def elaborate(self, platform) -> Module:
        m = Module()
        held = Signal(8, reset_less=True)
        m.d.sync += held.eq(~self.i)
        m.d.comb += self.o.eq(held)
        return m


class Delayed(Component):
    """Two of them, one after the other, and a memory of 32 words."""

    def __init__(self) -> None:
        super().__init__({"i": In(8), "address": In(5), "o": Out(8)})

    def elaborate(self, platform) -> Module:
        m = Module()
        first, second = Inverters(), Inverters()
        m.submodules.first, m.submodules.second = (Named(each, "inverters") for each in (first, second))
        m.submodules.words = words = memory.Memory(shape=8, depth=32, init=[])
        write, read = words.write_port(), words.read_port()
        m.d.comb += [first.i.eq(self.i), second.i.eq(first.o), write.en.eq(1), write.data.eq(second.o)]
        m.d.comb += [write.addr.eq(self.address), read.addr.eq(self.address), self.o.eq(read.data)]
        return m


class Sum(Component):
    """The sum of three numbers, by full adders and a chain of carries."""

    def __init__(self) -> None:
        super().__init__({"a": In(4), "b": In(4), "c": In(4), "o": Out(6)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.o.eq(save_sum(m, "row", [Term(self.a), Term(self.b), Term(self.c)], 0, 6))
        return m


def test_modules_count_as_often_as_they_occur_and_memories_in_bits(library: Library) -> None:
    found = module_areas(to_rtlil(Delayed(), "delayed"), "delayed", library)
    one = 8 * (library.cells["INV"].area + library.cells["DFF"].area)
    assert found == {"inverters": Area(one, 0), "delayed": Area(2 * one, 32 * 8)}


def test_the_smallest_of_all_attempts_counts(library: Library) -> None:
    rtlil = to_rtlil(Sum(), "total")
    least, most = sorted(
        map_to_cells(rtlil, "total", library, adders=[way], scripts=[script]).area for way, script in WAYS.items()
    )
    found = module_areas(rtlil, "total", library)["total"].um2
    assert found == pytest.approx(least, rel=0.02)  # what is flat, ABC sees in another order
    assert found < (least + most) / 2


def test_what_yosys_refuses_is_named(library: Library) -> None:
    with pytest.raises(BuildFailed, match="component 'missing': Yosys failed: "):
        module_areas("module \\some\nend\n", "missing", library)


def test_a_library_without_registers_is_refused(library: Library) -> None:
    cells = {name: cell for name, cell in library.cells.items() if name != "DFF"}
    with pytest.raises(BuildFailed, match="component 'delayed': mini has no cell for DFF"):
        module_areas(to_rtlil(Delayed(), "delayed"), "delayed", dataclasses.replace(library, cells=cells))
