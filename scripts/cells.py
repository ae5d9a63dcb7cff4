"""Mapping to standard cells with Yosys and ABC: the smallest netlist that is fast enough.

Full adders, those of modules `carry_save_<width>` (inputs a, b and c, outputs sum and carry) and those that products
are made of, become what the library has for them, which ABC can neither find nor change, or gates for ABC to map. Both
are tried, and each with several scripts of ABC, none of which is best for everything.

Flip-flops have no enable: a multiplexer in front of them holds their value, and clocks are never gated. No cell drives
more than the library allows: see scripts.buffers.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.buffers import buffer
from scripts.cell_library import Library
from scripts.timing import arrival
from scripts.yosys import ROMS, reason, run_yosys
from sim.gates import GENERIC
from sim.model import BuildFailed

SCRIPTS: dict[str, str] = {
    "dch-nf": "strash; &get -n; &dch -f; &nf; &put",  # most often the best with full-adder cells
    "dch-amap": "strash; dch; amap",  # and this without
    "nf": "strash; &get -n; &nf -D {ps} -R 10 -F 10; &put",
}
"""Scripts of ABC by name; {ps} is the clock period. Each is an attempt: with some libraries ABC aborts on some."""
SIZED = "; buffer -c -N 16; topo; upsize -D {ps}; dnsize -D {ps}"
"""What follows a script where its netlist is too slow otherwise: buffers, and larger or smaller cells."""
_UNLIMITED_NS = 1000.0

ADDERS = ("cells", "gates")
"""What full adders can become."""

_CARRY_SAVE = re.compile(r"^module \\(carry_save_(\d+))\s*$", re.MULTILINE)
_FULL_ADDER = "(* blackbox *) module full_adder(input a, b, c, output sum, carry); endmodule\n"
_CARRY_SAVE_ADDER = """
module {name}(input [{width}-1:0] a, b, c, output [{width}-1:0] sum, carry);
    full_adder adders [{width}-1:0] (.a(a), .b(b), .c(c), .sum(sum), .carry(carry));
endmodule
"""
_YOSYS_ADDER = """
(* techmap_celltype = "$fa" *)
module yosys_adder(A, B, C, X, Y);
    parameter WIDTH = 1;
    input [WIDTH-1:0] A, B, C;
    output [WIDTH-1:0] X, Y;
    genvar n;
    generate for (n = 0; n < WIDTH; n = n + 1) begin
        full_adder adder(.a(A[n]), .b(B[n]), .c(C[n]), .sum(Y[n]), .carry(X[n]));
    end endgenerate
endmodule
"""
_MAPPED_ADDER = """
(* techmap_celltype = "full_adder" *)
module mapped_adder(input a, b, c, output sum, carry);
    parameter _TECHMAP_CONSTMSK_a_ = 0;
    parameter _TECHMAP_CONSTMSK_b_ = 0;
    parameter _TECHMAP_CONSTMSK_c_ = 0;
    wire _TECHMAP_FAIL_ = {only_constant} && !(_TECHMAP_CONSTMSK_a_ | _TECHMAP_CONSTMSK_b_ | _TECHMAP_CONSTMSK_c_);
    {body}
endmodule
"""
_ADDER_OF_GATES = "wire differ = a ^ b; assign sum = differ ^ c; assign carry = differ ? c : a;"
"""With a majority in place of the multiplexer, ABC ends up 15 to 20 % larger."""
_FOLDS = 6
"""How often adders with a constant input are replaced by gates, which may make inputs of others constant."""


@dataclasses.dataclass(frozen=True)
class CellNetlist:
    """A module that is mapped to standard cells."""

    name: str
    library: str
    area: float
    """um^2"""
    delay_ns: float
    """see scripts.timing.arrival, with its defaults"""
    levels: int
    """cells on the path that has the most of them"""
    met: bool
    """whether the delay is at most the clock period asked for"""
    leakage_nw: float
    cells: Mapping[str, int]
    """number of cells by type"""
    adders: str
    """what full adders became: one of ADDERS"""
    script: str
    """the script of ABC: one of SCRIPTS, with " sized" if SIZED followed"""
    tried: Mapping[str, tuple[float, float]]
    """area and delay of all that was tried and succeeded"""
    seconds: float
    netlist: dict[str, Any] = dataclasses.field(repr=False)
    """the module, as Yosys's JSON has it"""


def map_to_cells(
    rtlil: str,
    top: str,
    library: Library,
    *,
    clock_ns: float | None = None,
    adders: Sequence[str] = ADDERS,
    scripts: Sequence[str] = tuple(SCRIPTS),
) -> CellNetlist:
    """Map the module `top` of an RTLIL text, with all that is below it, to a library.

    Of the netlists that `adders` and `scripts` give, this is the smallest with a delay of at most `clock_ns`; if there
    is none, the fastest. What Yosys refuses raises BuildFailed; without pyosys, ToolMissing.
    """
    start = time.monotonic()
    ps = round(1000 * (clock_ns or _UNLIMITED_NS))
    ways = possible(adders, library)
    found: list[CellNetlist] = []
    log = ""
    for sizing in ("", SIZED) if clock_ns else ("",):
        if any(netlist.met for netlist in found):
            break
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_inputs(folder, rtlil, library, {script: SCRIPTS[script] + sizing for script in scripts}, ps)
            log = run_yosys(rtlil, top, [*logic(rtlil, top), *attempts(ways, scripts, "write_json {file}")], folder)
            found += [
                _measured(_module(path, top), top, library, clock_ns, way, script + (" sized" if sizing else ""))
                for way in ways
                for script in scripts
                if (path := folder / f"{way}.{script}.json").exists()
            ]
    if not found:
        raise BuildFailed(f"component {top!r}: Yosys failed: {reason(log) or 'it does not say why'}")
    met = [netlist for netlist in found if netlist.met]
    best = min(met, key=lambda n: n.area) if met else min(found, key=lambda n: n.delay_ns)
    return dataclasses.replace(
        best,
        tried={f"{n.adders}, {n.script}": (n.area, n.delay_ns) for n in found},
        seconds=round(time.monotonic() - start, 1),
    )


def rtlil_to_gates(rtlil: str, top: str) -> dict[str, Any]:
    """The module `top` of an RTLIL text, with all that is below it, as a module of Yosys's JSON: see sim.gates.GENERIC.

    Raises as map_to_cells does.
    """
    with tempfile.TemporaryDirectory() as name:
        lines = [*_described(top), "techmap", "opt", "dfflegalize -cell $_DFF_P_ 01", "techmap", "opt_clean -purge"]
        run_yosys(rtlil, top, [*lines, "write_json gates.json"], Path(name))
        module = _module(Path(name, "gates.json"), top)
    unknown = {cell["type"] for cell in module["cells"].values()} - set(GENERIC)
    if unknown:
        raise BuildFailed(f"component {top!r}: left as they are: {', '.join(sorted(unknown))}")
    return module


def possible(adders: Sequence[str], library: Library) -> list[str]:
    """Of what full adders can become, what the library has."""
    return [way for way in adders if way == "gates" or library.full_adder] or ["gates"]


def attempts(ways: Sequence[str], scripts: Sequence[str], write: str, tidy: str = "opt") -> list[str]:
    """Commands that map the design `logic` in every way with every script, and `write` each to a {file} of its own.

    `tidy` is what comes before ABC.
    """
    lines = []
    for way in ways:
        lines += [
            "design -load logic",
            f"techmap -map {way}.v",
            "techmap",
            "dfflibmap -liberty library.lib",
            tidy,
            *(
                f"abc -liberty library.lib -script {script}.abc ; opt_clean -purge ; "
                + write.format(file=f"{way}.{script}.json")
                for script in scripts
            ),
        ]
    return lines


def _described(top: str, kept: Sequence[str] = ()) -> list[str]:
    """Commands that leave the cells that a description consists of, in one module and those to be `kept`.

    If any are kept, so are memories that are written.
    """
    keep = [f"setattr -mod -set keep_hierarchy 1 {name}" for name in kept]
    memory = ["memory -nomap", f"memory_map {ROMS}"] if kept else ["memory"]
    return [f"hierarchy -check -top {top}", "proc", *keep, "flatten -noscopeinfo", "opt", *memory, "opt"]


def logic(rtlil: str, top: str, kept: Sequence[str] = ()) -> list[str]:
    """Commands that save the design `logic`: full adders as cells full_adder, all else as logic; see _described."""
    replaced = [f"delete {name}" for name in dict(_CARRY_SAVE.findall(rtlil))]
    fold = ["techmap -map fold.v", "opt_expr", "opt_clean"] * _FOLDS
    return [
        *replaced,
        "read_verilog adders.v",
        *_described(top, kept),
        "alumacc",
        "opt",
        "maccmap",
        "techmap -map yosys.v",
        *fold,
        "opt",
        "design -save logic",
    ]


def write_inputs(folder: Path, rtlil: str, library: Library, scripts: Mapping[str, str], ps: int = 0) -> None:
    """Writes what Yosys reads: the library, ABC's scripts by name, and the Verilog that full adders are replaced by."""
    (folder / "library.lib").symlink_to(library.path.resolve())
    for script, commands in scripts.items():
        (folder / f"{script}.abc").write_text(commands.format(ps=ps) + "\n")
    rows = (_CARRY_SAVE_ADDER.format(name=name, width=width) for name, width in _CARRY_SAVE.findall(rtlil))
    (folder / "adders.v").write_text(_FULL_ADDER + "".join(rows))
    (folder / "yosys.v").write_text(_YOSYS_ADDER)
    (folder / "fold.v").write_text(_MAPPED_ADDER.format(only_constant=1, body=_ADDER_OF_GATES))
    (folder / "gates.v").write_text(_MAPPED_ADDER.format(only_constant=0, body=_ADDER_OF_GATES))
    if library.full_adder:
        pins = (*library.full_adder.inputs, library.full_adder.sum, library.full_adder.carry)
        connections = ", ".join(f".{p}({net})" for p, net in zip(pins, ("a", "b", "c", "sum", "carry"), strict=True))
        body = f"{library.full_adder.cell.name} adder({connections});"
        (folder / "cells.v").write_text(_MAPPED_ADDER.format(only_constant=0, body=body))


def _module(path: Path, top: str) -> dict[str, Any]:
    """What is needed of a module of Yosys's JSON: its ports, its cells and the initial values of its nets."""
    module = json.loads(path.read_text())["modules"][top]
    return {
        "ports": module["ports"],
        "cells": {
            name: {"type": cell["type"], "connections": cell["connections"]} for name, cell in module["cells"].items()
        },
        "netnames": {name: wire for name, wire in module["netnames"].items() if "init" in wire["attributes"]},
    }


def _measured(
    module: dict[str, Any], top: str, library: Library, clock_ns: float | None, adders: str, script: str
) -> CellNetlist:
    unknown = {cell["type"] for cell in module["cells"].values()} - set(library.gates)
    if unknown:
        raise BuildFailed(f"component {top!r}: {library.name} has no cell for {', '.join(sorted(unknown))}")
    buffer(module, library)
    cells = Counter(cell["type"] for cell in module["cells"].values())
    timing = arrival(module, library)
    return CellNetlist(
        name=top,
        library=library.name,
        area=sum(library.cells[cell].area * number for cell, number in cells.items()),
        delay_ns=timing.delay,
        levels=timing.levels,
        met=clock_ns is None or timing.delay <= clock_ns,
        leakage_nw=sum(library.cells[cell].leakage * number for cell, number in cells.items()),
        cells=dict(sorted(cells.items())),
        adders=adders,
        script=script,
        tried={},
        seconds=0.0,
        netlist=module,
    )
