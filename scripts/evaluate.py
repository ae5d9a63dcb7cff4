"""`make evaluate`: the algorithm on traces: errors, work and schedules, beside the rules of others."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from golden.config import Config
from golden.group import Grouping
from golden.layer import Plan, plan
from golden.traces import Head
from scripts.cli import console, describe, main, progress_bars, rows_table, with_preset
from scripts.demo import SAMPLE, choose_layers
from scripts.evaluate_picture import draw
from scripts.evaluation import (
    Job,
    Point,
    ablations,
    curves,
    figures,
    measure,
    reference,
    speculation_share,
    without_grouping,
)
from scripts.results import folder, write_results

PARTS = ("default", "reuse", "ablation", "curves")
REUSE_DISTANCE = 0.24
"""Relative L2 distance of the point with rows reused, where the configuration itself reuses none."""
CORES = 4
"""Cores over which the work is spread, unless told otherwise."""

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "error": lambda h: f"{h['rel_l2']:.4f}",
    "top tiers": lambda h: f"{h['top_tier_share']:.1%}",
    "passes": lambda h: f"{h['passes_per_product']:.3f}",
    "removed": lambda h: f"{h['products_removed']:.1%}",
    "speculation": lambda h: f"{h['speculation_share']:.2%}",
    "lanes": lambda h: f"{h['lane_utilisation']:.1%} ({h['lane_utilisation_ungrouped']:.1%})",
    "balance": lambda h: f"{h['balance']:.3f} ({h['balance_ungrouped']:.3f})",
}


@click.command()
@with_preset
@click.argument("traces", nargs=-1, type=click.Path(path_type=Path))
@click.option("--head", "chosen", type=int, multiple=True, help="Only these heads of every file, counted from 0.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only these; else all.")
@click.option("--reuse-distance", default=REUSE_DISTANCE, show_default=True, help="Of the point with rows reused.")
@click.option("--cores", default=CORES, show_default=True, help="Cores that the work is spread over.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default="one a core", help="Heads at a time.")
def evaluate(
    name: str,
    config: Config,
    traces: tuple[Path, ...],
    chosen: tuple[int, ...],
    parts: tuple[str, ...],
    reuse_distance: float,
    cores: int,
    jobs: int,
) -> None:
    """Evaluate the heads of TRACES (.npz, .safetensors), each file a layer, or of the sample of the repository."""
    if jobs < 1:
        raise ValueError(f"--jobs {jobs}: must be at least 1")
    wanted = parts or PARTS
    spread = dataclasses.replace(config, cores=cores)
    reusing = dataclasses.replace(spread, reuse_distance=config.reuse_distance or reuse_distance)
    layers = choose_layers(config, traces, chosen)
    console.print(describe(name, config))
    results: dict[str, Any] = {"traces": [path.name for path in traces] or [SAMPLE.name], "cores": cores}
    with running(jobs) as run:
        references = run("dense attention in float64", [(reference, (head,)) for heads in layers for head in heads])
        known = dict(zip((id(head) for heads in layers for head in heads), references, strict=True))
        if "default" in wanted:
            results |= evaluated(spread, layers, known, run, "as configured")
        if "reuse" in wanted:
            results["reuse"] = {"reuse_distance": reusing.reuse_distance}
            results["reuse"] |= evaluated(reusing, layers, known, run, "with rows reused")
        if "ablation" in wanted:
            results["ablation"] = ablation(reusing, layers, known, run)
        if "curves" in wanted:
            todo = [job for heads in layers for job in curves(spread, plan(spread, heads))]
            results["curves"] = series(measured(todo, known, run, "curves"))
    report(name, config, results)


def report(name: str, config: Config, results: dict[str, Any]) -> None:
    """Tables in the terminal; files."""
    for title, part in (("As configured", results), ("With rows reused", results.get("reuse", {}))):
        if "heads" in part:
            console.print(heads_table(title, part))
    if "ablation" in results:
        console.print(rows_table("One thing changed at a time", results["ablation"]))
    if "curves" in results:
        console.print(rows_table("Error at a work, mean and worst head", results["curves"]))
    path = write_results("evaluate", name, config, results)
    console.print(f"results: {path}")
    if "curves" in results and "ablation" in results:
        picture = folder(name) / "evaluate.png"
        draw(results["curves"], results["ablation"], picture)
        console.print(f"picture: {picture}")


Call = tuple[Callable[..., Any], tuple[Any, ...]]
Run = Callable[[str, list[Call]], list[Any]]


@contextmanager
def running(jobs: int) -> Iterator[Run]:
    """A way to run calls, `jobs` at a time, with a progress bar for each batch; results are in the order of the calls.

    A single one at a time runs in this process, and its bar moves within a head.
    """
    with progress_bars() as progress:
        if jobs == 1:

            def run(title: str, calls: list[Call]) -> list[Any]:
                step = progress.add_task(title, total=len(calls))
                found = []
                for function, arguments in calls:
                    found.append(function(*arguments, lambda share: progress.advance(step, share)))
                    progress.update(step, completed=len(found))
                return found

            yield run
            return
        for library in ("OMP", "OPENBLAS", "MKL"):  # heads run side by side: their products need no threads besides
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:

            def run(title: str, calls: list[Call]) -> list[Any]:
                step = progress.add_task(title, total=len(calls))
                futures: list[Future[Any]] = [pool.submit(function, *arguments) for function, arguments in calls]
                for _ in as_completed(futures):
                    progress.advance(step)
                return [future.result() for future in futures]

            yield run


def measured(jobs: list[Job], known: dict[int, NDArray[np.float64]], run: Run, title: str) -> list[Point]:
    """The jobs' points, in order."""
    return run(title, [(measure, (job, known[id(job.planned.head)])) for job in jobs])


def evaluated(
    config: Config, layers: list[list[Head]], known: dict[int, NDArray[np.float64]], run: Run, title: str
) -> dict[str, Any]:
    """Figures of all heads under a configuration, and in total."""
    plans: list[Plan] = []
    alone = []
    for heads in layers:
        plans += plan(config, heads)
        alone += without_grouping(config, heads)
    points = measured([Job("default", title, made, config) for made in plans], known, run, title)
    heads = [
        figures(config, made, single, point.rel_l2) for made, single, point in zip(plans, alone, points, strict=True)
    ]
    sizes = [len(each) for each in layers]
    by_layer = np.split(np.array([head["top_tier_share"] for head in heads]), np.cumsum(sizes)[:-1])
    return {"heads": heads, "total": total(heads, [float(layer.mean()) for layer in by_layer])}


def total(heads: list[dict[str, Any]], layer_shares: list[float]) -> dict[str, float]:
    """Means over heads; the worst where it says so, and of balance and utilisation too."""

    def mean(key: str) -> float:
        return float(np.mean([head[key] for head in heads]))

    def worst(key: str) -> float:
        return max(head[key] for head in heads)

    keys = ("top_tier_share", "passes_per_product", "products_removed", "speculation_share", "preparation_share")
    return {
        "rel_l2_mean": mean("rel_l2"),
        "rel_l2_worst": worst("rel_l2"),
        **{key: mean(key) for key in keys},
        "worst_layer_top_tier_share": max(layer_shares),
        "speculation_share_worst": worst("speculation_share"),
        "lane_utilisation": min(head["lane_utilisation"] for head in heads),
        "bank_collisions": worst("bank_collisions"),
        "balance": worst("balance"),
        "lane_utilisation_ungrouped": min(head["lane_utilisation_ungrouped"] for head in heads),
        "balance_ungrouped": worst("balance_ungrouped"),
    }


def ablation(
    config: Config, layers: list[list[Head]], known: dict[int, NDArray[np.float64]], run: Run
) -> list[dict[str, Any]]:
    """Error, work, cost and schedules with one thing changed at a time."""
    variants: dict[str, list[tuple[Job, Grouping]]] = {}
    for heads in layers:
        for name, changed, plans, groupings in ablations(config, heads):
            jobs = [Job("ablation", name, made, changed) for made in plans]
            variants.setdefault(name, []).extend(zip(jobs, groupings, strict=True))
    points = iter(measured([job for each in variants.values() for job, _ in each], known, run, "ablation"))
    rows = []
    for name, pairs in variants.items():
        here = [next(points) for _ in pairs]
        costs = [speculation_share(job.config, job.planned) for job, _ in pairs]
        rows.append(
            {
                "change": name,
                "rel_l2_mean": float(np.mean([point.rel_l2 for point in here])),
                "rel_l2_worst": max(point.rel_l2 for point in here),
                "passes_per_product": float(np.mean([point.work for point in here])),
                "products_removed": float(np.mean([job.planned.products_removed for job, _ in pairs])),
                "speculation_share": float(np.mean(costs)),
                "lane_utilisation": min(grouping.lane_utilisation for _, grouping in pairs),
                "balance": max(grouping.balance for _, grouping in pairs),
            }
        )
    return rows


def series(points: list[Point]) -> list[dict[str, Any]]:
    """Mean work, mean and worst error of each series at each point asked for."""
    rows = []
    for name, wanted in dict.fromkeys((point.series, point.wanted) for point in points):
        here = [point for point in points if (point.series, point.wanted) == (name, wanted)]
        rows.append(
            {
                "rule": name,
                "wanted": wanted,
                "work": float(np.mean([point.work for point in here])),
                "rel_l2_mean": float(np.mean([point.rel_l2 for point in here])),
                "rel_l2_worst": max(point.rel_l2 for point in here),
            }
        )
    return rows


def heads_table(title: str, part: dict[str, Any]) -> Table:
    """The heads' figures, without grouping in parentheses; their means, but of lanes and balance the worst."""
    out = Table("head", *COLUMNS, title=title)
    for head in part["heads"]:
        out.add_row(head["head"], *(cell(head) for cell in COLUMNS.values()))
    out.add_section()
    last = part["total"] | {"rel_l2": part["total"]["rel_l2_mean"]}
    out.add_row("mean", *(cell(last) for cell in COLUMNS.values()))
    out.add_row("worst", f"{part['total']['rel_l2_worst']:.4f}", f"{part['total']['worst_layer_top_tier_share']:.1%}")
    return out


if __name__ == "__main__":
    main(evaluate)
