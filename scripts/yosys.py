"""Synthesis with Yosys: what a component takes on an FPGA.

The hierarchy is kept: a module that occurs a thousand times is mapped once, and counted a thousand times. Nothing is
optimised across modules that way, so the figures are sums over modules and upper bounds; `flatten` gives the exact
ones of a small design.

LUTs are mapped by `abc` in place of the `abc9` of synth_ecp5 and synth_xilinx. The latter models the delay of carry
chains and block RAMs, which is of no use without placement; on these designs it takes three times as long and ends up
with more LUTs.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sim.model import BuildFailed
from sim.tools import ToolMissing

_CHILD = """
import os, sys
from pyosys import libyosys
design = libyosys.Design()
for line in sys.stdin:
    commands = line.strip().split(" ; ")
    if len(commands) > 1 and os.fork():
        os.wait()
        continue
    for command in commands:
        libyosys.run_pass(command, design)
    if len(commands) > 1:
        os._exit(0)
"""
"""An error in Yosys ends the process that it runs in, so it gets one of its own."""

ROMS = "t:$mem_v2 r:WR_PORTS=0 %i"
"""ROMs are logic; we count only what is written."""
_DESCRIBED = (
    "design -push-copy",
    "memory_collect",
    f"delete {ROMS}",
    "memory_unpack",  # only then does `stat` know the size of a memory
    "tee -q -o described.json stat -json",
    "design -pop",
)
MEMORY, MEMORY_BITS = "$mem_v2", "memory bits"
_LONGEST = re.compile(r"Longest topological path.*length=(\d+)")
_LATCHES = ("$dlatch", "$adlatch", "$dlatchsr", "$sr")


@dataclasses.dataclass(frozen=True)
class Target:
    """An FPGA family: the commands that map to it, and what its cells are."""

    map_rams: str
    """all up to the mapping of memories to block RAM and LUT RAM"""
    map_rest: tuple[str, ...]
    luts: Mapping[str, int]
    """LUTs that a cell occupies"""
    lutram_bits: Mapping[str, int]
    block_rams: Mapping[str, int]
    """blocks of 18 kbit: a RAMB36 is two"""
    registers: tuple[str, ...]
    dsps: tuple[str, ...]


_ECP5 = "synth_ecp5 -top {top} -noflatten -nowidelut -latches info{dsp}"  # info: we count them ourselves
_XILINX = "synth_xilinx -family xcup -top {top} -noiopad -noclkbuf{dsp}"
_XILINX_LUTRAMS = {
    f"RAM{size}X1{kind}": size * n // 64 for size in (64, 128, 256, 512) for kind, n in (("S", 1), ("D", 2))
}
_XILINX_LUTRAMS |= {"RAM32X1S": 1, "RAM32X1D": 2, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8}

TARGETS: dict[str, Target] = {
    "ecp5": Target(
        map_rams=f"{_ECP5} -run begin:map_ffram",
        map_rest=(f"{_ECP5} -run map_ffram:map_luts", "abc -lut 4", "clean", f"{_ECP5} -run map_cells:check"),
        # A carry cell is two LUTs; a LUT RAM takes three slices of two LUTs (ECP5 data sheet, distributed RAM).
        luts={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
        lutram_bits={"TRELLIS_DPR16X4": 64},
        block_rams={"DP16KD": 1, "PDPW16KD": 1},
        registers=("TRELLIS_FF",),
        dsps=("MULT18X18D", "ALU54B"),
    ),
    "xilinx": Target(  # UltraScale+
        map_rams=f"{_XILINX} -run begin:map_ffram",
        map_rest=(
            f"{_XILINX} -run map_ffram:map_luts",
            "opt_expr -mux_undef -noclkinv",
            "abc -luts 2:2,3,6:5",
            "clean",
            "xilinx_srl -fixed -minlen 3",
            "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6",
            "xilinx_dffopt",
            "opt_lut_ins -tech xilinx",
            f"{_XILINX} -run finalize:check",
        ),
        luts={f"LUT{n}": 1 for n in range(1, 7)} | {"INV": 1, "SRL16E": 1, "SRLC32E": 1} | _XILINX_LUTRAMS,
        lutram_bits={cell: 64 * luts for cell, luts in _XILINX_LUTRAMS.items()},
        block_rams={"RAMB18E2": 1, "RAMB36E2": 2},
        registers=("FDRE", "FDSE", "FDCE", "FDPE"),
        dsps=("DSP48E2",),
    ),
}


@dataclasses.dataclass(frozen=True)
class Netlist:
    """A synthesized module with all that is below it."""

    name: str
    luts: int
    """logic, carry, LUT RAM and shift registers"""
    registers: int
    """flip-flops"""
    ram_bits: int
    """bits of the memories as described, ROMs excluded"""
    dsps: int
    block_rams: int
    """blocks of 18 kbit: a RAMB36 is two"""
    lutram_bits: int
    """bits that the LUT RAM in use could hold"""
    register_rams: int
    """memories that fit no RAM and became flip-flops"""
    multipliers: int
    """multiplications as described, by constants too"""
    latches: int
    """latches as described"""
    levels: int
    """cells on the longest path between registers, if flattened"""
    seconds: float
    cells: Mapping[str, int] = dataclasses.field(repr=False)
    """cells of the target by type"""

    def known(self, stage: str) -> dict[str, int]:
        """What a parent, to which this module is a black box, adds for it at a stage."""
        return {
            "described": {MEMORY_BITS: self.ram_bits, "$mul": self.multipliers, _LATCHES[0]: self.latches},
            "rams": {MEMORY: self.register_rams},
            "mapped": dict(self.cells),
        }[stage]


def commands(top: str, target: str, flatten: bool = False, boxes: tuple[str, ...] = (), dsp: bool = True) -> list[str]:
    """The Yosys commands that map `top` of the design; they write described.json, rams.json and mapped.json."""
    to = TARGETS[target]
    lines = [
        *(f"blackbox {name}" for name in boxes),
        "hierarchy -check -top {top}",
        "proc",
        *(["flatten"] if flatten else []),
        "opt_expr",
        "opt_clean",
        *_DESCRIBED,
        to.map_rams,
        f"tee -q -o rams.json stat -json * {ROMS} %d",
        *to.map_rest,
        "tee -q -o levels.txt ltp -noff",
        "blackbox =A:whitebox",
        "tee -q -o mapped.json stat -json",
    ]
    return [line.replace("{top}", top).replace("{dsp}", "" if dsp else " -nodsp") for line in lines]


def run_yosys(rtlil: str, top: str, lines: Iterable[str], folder: Path) -> str:
    """Reads an RTLIL text and runs commands on it, line by line, in a folder; returns the log.

    A line of several commands, apart by " ; ", is an attempt: it leaves no trace but the files that it writes, also if
    it fails. Any other failure raises BuildFailed naming `top`; without pyosys, ToolMissing.
    """
    if importlib.util.find_spec("pyosys") is None:
        raise ToolMissing("pyosys is not installed: pip install -e .[synth]")
    (folder / "design.il").write_text(rtlil)
    child = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input="\n".join(["read_rtlil design.il", *lines]),
        cwd=folder,
        # Yosys keeps what ABC reads of a library among temporary files, by the library's path: here all have the same.
        env=os.environ | {"TMPDIR": str(folder)},
        text=True,
        capture_output=True,
        check=False,
    )
    log = child.stdout + child.stderr
    if child.returncode:
        raise BuildFailed(f"component {top!r}: Yosys failed: {reason(log) or f'exit code {child.returncode}'}")
    return log


def reason(log: str) -> str:
    """The first error in a log of Yosys, or nothing."""
    return next((line for line in log.splitlines() if "ERROR" in line), "")


def synthesize(
    rtlil: str,
    top: str,
    target: str,
    *,
    flatten: bool = False,
    parts: Mapping[str, Netlist] | None = None,
    dsp: bool = True,
) -> Netlist:
    """Map the module `top` of an RTLIL text to a target; without `dsp`, multiplications become LUTs.

    Modules in `parts` are not mapped again: they count as what they are known to take. What Yosys refuses raises
    BuildFailed; without pyosys, ToolMissing.
    """
    parts, start = parts or {}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run_yosys(rtlil, top, commands(top, target, flatten, tuple(parts), dsp), Path(folder))
        levels = _LONGEST.findall(Path(folder, "levels.txt").read_text())
        described, rams, mapped = (
            totals(
                json.loads(Path(folder, f"{stage}.json").read_text())["modules"],
                top,
                {name: part.known(stage) for name, part in parts.items()},
            )
            for stage in ("described", "rams", "mapped")
        )
    to = TARGETS[target]
    return Netlist(
        name=top,
        luts=_weighted(mapped, to.luts),
        registers=sum(mapped[cell] for cell in to.registers),
        ram_bits=described[MEMORY_BITS],
        dsps=sum(mapped[cell] for cell in to.dsps),
        block_rams=_weighted(mapped, to.block_rams),
        lutram_bits=_weighted(mapped, to.lutram_bits),
        register_rams=rams[MEMORY],
        multipliers=described["$mul"],
        latches=sum(described[cell] for cell in _LATCHES),
        levels=max(map(int, levels), default=0),
        seconds=round(time.monotonic() - start, 1),
        cells={cell: n for cell, n in sorted(mapped.items()) if n and cell != MEMORY_BITS},
    )


def _weighted(cells: Counter[str], weights: Mapping[str, int]) -> int:
    return sum(cells[cell] * weight for cell, weight in weights.items())


def totals(modules: dict[str, Any], top: str, known: Mapping[str, Mapping[str, int]]) -> Counter[str]:
    """Cells of `top` and below, every instance counted; modules are those of Yosys's `stat -json`."""

    @functools.cache
    def total(name: str) -> Counter[str]:
        if name in known:
            return Counter(known[name])
        module = modules[f"\\{name}"]
        count = Counter({MEMORY_BITS: module["num_memory_bits"]})
        for cell, instances in module["num_cells_by_type"].items():
            below = total(cell) if cell in known or f"\\{cell}" in modules else {cell: 1}
            for kind, number in below.items():
                count[kind] += instances * number
        return count

    return total(top)
