"""Runs a bench on a component: its model is built if need be, and simulated under cocotb."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cocotb_test.simulator import run

from golden.config import Config
from sim import job
from sim.model import build, captured, environment, finding
from sim.tools import verilator_environment

POLL_SECONDS = 0.25


class BenchFailed(Exception):
    """A bench found a difference or a broken rule; the message is its first finding."""


def simulate(
    component: str,
    config: Config,
    *,
    bench: str | None = None,
    testcase: str | None = None,
    inputs: dict[str, Any] | None = None,
    seed: int = 1,
    waves: bool = False,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Run the cocotb tests of `sim.benches.<bench>`, which is called like the component, and return their figures.

    `inputs` is what the bench asks for. `waves` dumps a VCD, whose path is in the figures. A failing test raises
    BenchFailed, a failing build BuildFailed, a missing tool ToolMissing. `progress` is told the share of the work that
    is done, now and then and from another thread.
    """
    bench = bench or component
    started = time.perf_counter()
    model = build(component, config, waves)
    built = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=model.folder) as name:
        work = Path(name)
        job.write(work, config, inputs or {})
        changes = verilator_environment() | {job.VARIABLE: name, "COCOTB_RESULTS_FILE": str(work / "results.xml")}
        with environment(changes), captured() as log, _watched(work, progress):
            try:
                run(
                    module=f"sim.benches.{bench}",
                    testcase=testcase,
                    seed=seed,
                    work_dir=name,
                    plus_args=["--trace"] if waves else [],
                    **model.settings,
                )
            except SystemExit as stop:
                raise BenchFailed(f"{bench} on {component}, seed {seed}: {finding(log)}") from stop
        figures = job.read_figures(work)
        if not figures:
            raise BenchFailed(f"{bench} on {component}, seed {seed}: no test reported any figures")
        if waves:
            figures["waves"] = str((work / "dump.vcd").rename(model.folder / f"{bench}.vcd"))
    return figures | {"build_seconds": built - started, "run_seconds": time.perf_counter() - built}


@contextlib.contextmanager
def _watched(work: Path, progress: Callable[[float], None] | None) -> Iterator[None]:
    """Hands on what the bench says of its progress."""
    if progress is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            progress(job.read_progress(work))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
