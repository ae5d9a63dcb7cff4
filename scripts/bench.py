"""`make bench`: speed and memory of the golden model, the generator, the simulation, and the arbiter's throughput."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import click
from rich.table import Table

from golden.attention import attention
from golden.config import Config
from golden.oracle import attend
from golden.traces import Head, load
from rtl.components import COMPONENTS
from rtl.emit import to_verilog
from scripts.cli import console, describe, main, with_preset
from scripts.demo import SAMPLE, fitting
from scripts.results import write_results
from sim.model import build
from sim.simulate import simulate
from sim.workload import workload

ARBITER_PATTERN = "words_per_lane_cycle_"


def seconds(function: Callable[[], Any], runs: int = 3) -> float:
    """The fastest of a few runs: what a busy machine adds is left out."""
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return min(taken)


def peak_bytes(function: Callable[[], Any]) -> int:
    """Most memory that Python and NumPy held at once, above what they held before."""
    tracemalloc.start()
    function()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def bench_golden(config: Config, head: Head) -> dict[str, Any]:
    """Golden attention of a head, against dense attention in float64 in the same run."""
    work = workload(config, head)
    taken = seconds(lambda: attention(config, work.prepared.operands, work.schedule))
    return {
        "head": head.name,
        "tokens": len(head.q),
        "seconds": taken,
        "pairs_per_second": len(head.q) ** 2 / taken,
        "ratio_to_dense_float64": taken / seconds(lambda: attend(head)),
        "peak_bytes": peak_bytes(lambda: attention(config, work.prepared.operands, work.schedule)),
    }


def bench_generator(config: Config) -> list[dict[str, Any]]:
    """Seconds to generate Verilog, and its size."""
    figures = []
    for name, component in COMPONENTS.items():
        started = time.perf_counter()
        text = to_verilog(component(config), name)
        figures.append({"component": name, "seconds": time.perf_counter() - started, "bytes": len(text)})
    return figures


def bench_simulation(config: Config, head: Head) -> dict[str, Any]:
    """Speed of the core's simulation under Verilator, and the share of it that the bench in Python costs."""
    build("core", config)
    figures = simulate("core", config, inputs={"workload": workload(config, head)})
    keys = ("cycles", "passes", "simulated_cycles_per_second", "bench_share", "run_seconds")
    return {"head": head.name, "tokens": len(head.q)} | {key: figures[key] for key in keys}


def bench_arbiter(config: Config) -> list[dict[str, Any]]:
    """Words per lane and cycle for every access pattern of the arbiter's bench."""
    figures = simulate("arbiter", config)
    found = {key: value for key, value in figures.items() if key.startswith(ARBITER_PATTERN)}
    shape = {"lanes": config.lanes, "banks": config.banks, "request_depth": config.request_depth}
    return [
        {**shape, "pattern": key.removeprefix(ARBITER_PATTERN), "words_per_lane_cycle": value}
        for key, value in found.items()
    ]


@click.command()
@with_preset
def bench(name: str, config: Config) -> None:
    """Measure a preset on the sample of the repository."""
    console.print(describe(name, config))
    heads = [fitting(config, head) for head in load(SAMPLE)]
    figures: dict[str, Any] = {}
    for step, measure in {
        "golden": lambda: [bench_golden(config, head) for head in heads],
        "generator": lambda: bench_generator(config),
        "arbiter": lambda: bench_arbiter(config),
        "simulation": lambda: [bench_simulation(config, heads[0])],
    }.items():
        with console.status(f"measuring: {step}"):
            figures[step] = measure()
        console.print(rows_table(step, figures[step]))
    console.print(f"results: {write_results('bench', name, config, figures)}")


def rows_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """A table of equal records."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{cell:,.4g}" if isinstance(cell, float) else str(cell) for cell in row.values()))
    return table


if __name__ == "__main__":
    main(bench)
