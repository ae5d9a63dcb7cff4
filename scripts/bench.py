"""`make bench`: speed of golden model, generator and simulation; throughput of the hardware; designs compared."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from golden.attention import attention
from golden.config import Config
from golden.oracle import attend
from golden.traces import Head, load
from rtl.components import COMPONENTS
from rtl.emit import to_verilog
from scripts.bench_arbiter import bench_arbiter
from scripts.bench_cycles import bench_cycles
from scripts.bench_full import bench_full
from scripts.bench_full import table as full_table
from scripts.cli import FAILED, console, describe, main, rows_table, with_preset
from scripts.default_library import default_library
from scripts.demo import SAMPLE, fitting
from scripts.liberty import read
from scripts.results import folder, write_results
from scripts.style_report import draw, tables
from scripts.styles import rows, targets, widths
from sim.model import build
from sim.simulate import simulate
from sim.workload import workload

LEAST_PRODUCTS = 1_000_000


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
    taken = seconds(lambda: attention(config, work.operands, work.schedule))
    return {
        "head": head.name,
        "tokens": len(head.q),
        "seconds": taken,
        "pairs_per_second": len(head.q) ** 2 / taken,
        "ratio_to_dense_float64": taken / seconds(lambda: attend(head)),
        "peak_bytes": peak_bytes(lambda: attention(config, work.operands, work.schedule)),
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


def bench_switching(config: Config) -> list[dict[str, Any]]:
    """Both multipliers, tables switched at random times: a dot product a cycle from every reader, or it fails."""
    keys = ("products", "table_switches", "dot_products_per_reader_cycle")
    found = []
    for component in ("key_multiplier", "value_multiplier"):
        figures = simulate(component, config, inputs={"least_products": LEAST_PRODUCTS})
        found.append({"component": component, "table": config.table} | {key: figures[key] for key in keys})
    return found


PARTS = ("golden", "generator", "arbiter", "switching", "simulation", "cycles", "styles", "widths", "full")


@click.command()
@with_preset
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only these; else all.")
@click.option("--clock-ns", default=3.0, show_default=True, help="Delay that the faster netlists of cells must meet.")
@click.argument("liberty", nargs=-1, type=click.Path(path_type=Path))
def bench(name: str, config: Config, parts: tuple[str, ...], clock_ns: float, liberty: tuple[Path, ...]) -> None:
    """Measure a preset on the sample of the repository; LIBERTY are cell libraries for the styles.

    What an earlier run of the same configuration measured and this one does not is kept.
    """
    console.print(describe(name, config))
    heads = [fitting(config, head) for head in load(SAMPLE)]
    figures = earlier(name, config)
    with console.status("measuring") as status:
        told = status.update
        measures: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "golden": lambda: [bench_golden(config, head) for head in heads],
            "generator": lambda: bench_generator(config),
            "arbiter": lambda: bench_arbiter(told),
            "switching": lambda: bench_switching(config),
            "simulation": lambda: [bench_simulation(config, heads[0])],
            "cycles": lambda: bench_cycles(config, heads[0], told),
            "styles": lambda: rows(config, heads[0], targets(liberty, clock_ns), told),
            "widths": lambda: widths(config, heads, read(liberty[0] if liberty else default_library()), told),
            "full": lambda: bench_full(name, config, heads, told),
        }
        tables_of: dict[str, Callable[[Any], list[Table]]] = {
            "styles": tables,
            "full": lambda rows: [full_table(rows)],
        }
        for part in parts or PARTS:
            told(f"measuring: {part}")
            figures[part] = measures[part]()
            shown = tables_of[part](figures[part]) if part in tables_of else [rows_table(part, figures[part])]
            for table in shown:
                console.print(table)
            path = write_results("bench", name, config, figures)
    if "styles" in (parts or PARTS):
        draw(figures["styles"], folder(name) / "styles.png")
        console.print(f"picture: {folder(name) / 'styles.png'}")
    console.print(f"results: {path}")
    if "cycles" in (parts or PARTS) and any(row["off"] for row in figures["cycles"]):
        raise SystemExit(FAILED)


def earlier(name: str, config: Config) -> dict[str, Any]:
    """The parts that an earlier run of this configuration measured."""
    path = folder(name) / "bench.json"
    if not path.exists():
        return {}
    results = json.loads(path.read_text(encoding="utf-8"))
    return {part: results[part] for part in PARTS if part in results} if results["config_hash"] == config.hash else {}


if __name__ == "__main__":
    main(bench)
