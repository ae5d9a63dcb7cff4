"""Areas of the modules of a component in standard cells: each is mapped once, and counted as often as it occurs.

Nothing is optimised across modules but readers and what they consist of, so that sums are upper bounds. Memories stay
memories, and count in bits. Of all attempts at a module its smallest counts; none of them has buffers for heavy loads.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from scripts.cell_library import Library
from scripts.cells import ADDERS, SCRIPTS, attempts, logic, possible, write_inputs
from scripts.yosys import MEMORY, MEMORY_BITS, reason, run_yosys, totals
from sim.model import BuildFailed

ABC = ("dch-nf", "dch-amap")
"""Scripts that are tried: see scripts.cells.SCRIPTS."""
_MODULE = re.compile(r"^module \\(\S+)", re.MULTILINE)
_INNER = re.compile(r"(carry_save|product|table)_\d+$")
"""Modules that become part of those that they are in: tables and readers are mapped as a whole."""
_MEMORIES = "design -load logic ; memory_unpack ; tee -q -o memories.json stat -json"


class Area(NamedTuple):
    """A module with all that is below it."""

    um2: float
    """of cells"""
    memory_bits: int


def module_areas(rtlil: str, top: str, library: Library) -> dict[str, Area]:
    """The areas of `top` of an RTLIL text, and of all modules below it, by name.

    What Yosys refuses raises BuildFailed; without pyosys, ToolMissing.
    """
    kept = [name for name in _MODULE.findall(rtlil) if not _INNER.match(name)]
    (way,) = possible(ADDERS[:1], library)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, rtlil, library, {script: SCRIPTS[script] for script in ABC})
        # Before ABC `opt` finds little, and takes longer than all the rest.
        tries = attempts([way], ABC, "tee -q -o {file} stat -json", tidy="opt_clean")
        log = run_yosys(rtlil, top, [*logic(rtlil, top, kept), _MEMORIES, *tries], folder)
        files = [folder / f"{way}.{script}.json" for script in ABC]
        memories, *found = (
            json.loads(path.read_text())["modules"] for path in (folder / "memories.json", *files) if path.exists()
        )
    if not found:
        raise BuildFailed(f"component {top!r}: Yosys failed: {reason(log) or 'it does not say why'}")
    smallest = {name: min((each[name] for each in found), key=lambda m: _own(m, library)) for name in memories}
    areas = {}
    for name in memories:
        cells, bits = (totals(modules, name[1:], {}) for modules in (smallest, memories))
        unknown = set(cells) - set(library.cells) - {MEMORY, MEMORY_BITS}
        if unknown:
            raise BuildFailed(f"component {top!r}: {library.name} has no cell for {', '.join(sorted(unknown))}")
        um2 = sum(library.cells[cell].area * n for cell, n in cells.items() if cell in library.cells)
        areas[name[1:]] = Area(um2, bits[MEMORY_BITS])
    return areas


def _own(module: dict[str, Any], library: Library) -> float:
    """um^2 of the cells of a module itself."""
    return sum(library.cells[cell].area * n for cell, n in module["num_cells_by_type"].items() if cell in library.cells)
