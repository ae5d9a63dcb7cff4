"""What the parts of a design take on a target: LUTs of an FPGA, or area and delay in a cell library.

Every part is mapped once and on its own, flat; what has been mapped before, by the same rules, is read from
build/mapped.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import threading
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rtl.emit import to_rtlil
from rtl.files import write_text
from scripts import buffers, cells, timing, yosys
from scripts.cell_library import Library
from scripts.cells import ADDERS, SCRIPTS, map_to_cells
from scripts.designs import Part
from scripts.results import BUILD

MAPPED = BUILD / "mapped"
TOP = "part"
_LOCKS: dict[Path, threading.Lock] = defaultdict(threading.Lock)
"""Designs have parts in common, each of which is mapped once, by whoever comes first."""


@dataclasses.dataclass(frozen=True)
class Target:
    """An FPGA family, or a cell library with a clock period."""

    name: str
    fpga: str = ""
    """a key of scripts.yosys.TARGETS, or nothing"""
    library: Library | None = None
    clock_ns: float | None = None
    """the delay that is to be met; None for the smallest area"""
    quick: bool = False
    """a single attempt, with the script that most often is the best"""

    @property
    def adder(self) -> str:
        """The form of sums that suits it."""
        return "carry" if self.fpga else "save"

    @property
    def units(self) -> tuple[str, str]:
        """Of area and delay."""
        return ("LUTs", "cells") if self.fpga else ("um2", "ns")


@dataclasses.dataclass(frozen=True)
class Cost:
    """A part on a target."""

    area: float
    delay: float
    met: bool = True
    dsps: int = 0
    how: str = ""
    """what won, of all that was tried"""
    netlist: dict[str, Any] | None = dataclasses.field(default=None, repr=False)


@functools.cache
def described(part: Part, adder: str) -> str:
    """RTLIL of a part, its sums in one form or the other; its top module is called TOP."""
    return to_rtlil(part.component(adder), TOP)


def cost(part: Part, target: Target) -> Cost:
    """Map a part to a target, or look up what that gave before."""
    if part.quick and target.library:
        target = dataclasses.replace(target, quick=True)
    rtlil = described(part, target.adder)
    path = MAPPED / f"{_key(rtlil, target)}.json"
    with _LOCKS[path]:
        if path.exists():
            return Cost(**json.loads(path.read_text(encoding="utf-8")))
        if target.clock_ns is not None:
            smallest = cost(part, dataclasses.replace(target, clock_ns=None))
            if smallest.delay <= target.clock_ns:
                return smallest
        found = _on_fpga(rtlil, target) if target.fpga else _in_cells(rtlil, target)
        write_text(path, json.dumps(dataclasses.asdict(found)))
        return found


def _on_fpga(rtlil: str, target: Target) -> Cost:
    netlist = yosys.synthesize(rtlil, TOP, target.fpga, flatten=True, dsp=False)
    return Cost(netlist.luts, netlist.levels, dsps=netlist.dsps)


def _in_cells(rtlil: str, target: Target) -> Cost:
    assert target.library is not None
    ways = {"adders": ADDERS[:1], "scripts": tuple(SCRIPTS)[:1]} if target.quick else {}
    found = map_to_cells(rtlil, TOP, target.library, clock_ns=target.clock_ns, **ways)
    return Cost(found.area, found.delay_ns, found.met, how=f"{found.adders}, {found.script}", netlist=found.netlist)


def _key(rtlil: str, target: Target) -> str:
    """All that the outcome depends on."""
    library = target.library.path.read_text(encoding="utf-8") if target.library else ""
    flows = [Path(module.__file__ or "").read_text(encoding="utf-8") for module in (buffers, cells, timing, yosys)]
    clock = None if target.clock_ns is None else float(target.clock_ns)
    told = (rtlil, target.fpga, library, clock, target.quick, version("pyosys"), *flows)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:24]
