"""Runs a bench on a component: its model is built if need be, and simulated under cocotb."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from cocotb_test.simulator import run

from golden.config import Config
from sim import job
from sim.model import build, captured, environment, finding
from sim.tools import verilator_environment


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
) -> dict[str, Any]:
    """Run the cocotb tests of `sim.benches.<bench>`, which is called like the component, and return their figures.

    `inputs` is what the bench asks for. `waves` dumps a VCD, whose path is in the figures. A failing test raises
    BenchFailed, a failing build BuildFailed, a missing tool ToolMissing.
    """
    bench = bench or component
    started = time.perf_counter()
    model = build(component, config, waves)
    built = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=model.folder) as name:
        work = Path(name)
        job.write(work, config, inputs or {})
        changes = verilator_environment() | {job.VARIABLE: name, "COCOTB_RESULTS_FILE": str(work / "results.xml")}
        with environment(changes), captured() as log:
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
