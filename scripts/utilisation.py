"""`make utilisation`: how busy the lanes of the complete core are over whole runs, and what they wait for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.progress import Progress
from rich.table import Table

from golden.config import Config
from golden.group import ungrouped
from golden.head_cycles import head_cycles
from golden.layer import Plan, plan
from golden.schedule import Schedule, in_order
from golden.traces import Head
from scripts.cli import console, describe, main, progress_bars, with_preset
from scripts.demo import LOST, choose_layers, lost, simulate_heads
from scripts.evaluate import REUSE_DISTANCE
from scripts.results import write_results
from scripts.stages import busy
from sim.head_words import HeadWords, planned_words
from sim.model import build
from sim.tools import require_compiler

LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "tokens": lambda run: f"{run['tokens']:,}",
    "rows reused": lambda run: f"{run['rows_reused']:.1%}",
    "cycles": lambda run: f"{run['cycles']:,}",
    "predicted": lambda run: f"{run['predicted']:,}",
    "lanes busy": lambda run: f"{run['lane_utilisation']:.1%}",
    "lost to preparation": lambda run: f"{run['lost']['preparation']:.1%}",
    **LOST,
    "cycles without grouping, predicted": lambda run: f"{run['ungrouped']['cycles']:,}",
    "lanes busy then": lambda run: f"{run['ungrouped']['lane_utilisation']:.1%}",
    "mismatches": lambda run: f"{run['mismatches']} of {run['words_compared']:,}",
    "simulated cycles/s": lambda run: f"{run['simulated_cycles_per_second']:,.0f}",
}
"""What is shown of a run, and how."""
TITLES = {"plain": "all rows computed", "reuse": "rows reused"}


class Work(NamedTuple):
    """A head to be simulated."""

    made: Plan
    words: HeadWords
    alone: Plan
    """The head with no query tiles joined"""
    unpacked: Schedule
    """That plan's, with the tokens of a key tile in order"""


@click.command()
@with_preset
@click.argument("traces", nargs=-1, type=click.Path(path_type=Path))
@click.option("--head", "chosen", type=int, multiple=True, help="Only these heads of every file, counted from 0.")
@click.option("--reuse-distance", default=REUSE_DISTANCE, show_default=True, help="Of the runs with rows reused.")
def utilisation(
    name: str, config: Config, traces: tuple[Path, ...], chosen: tuple[int, ...], reuse_distance: float
) -> None:
    """Simulate heads of TRACES (.npz, .safetensors), each file a layer, or of the sample of the repository.

    Every head alone and then all of a layer, one after the other; first with all rows computed, then with rows reused.
    """
    require_compiler()
    layers = choose_layers(config, traces, chosen)
    console.print(describe(name, config))
    distances = dict(zip(TITLES, (0.0, reuse_distance), strict=True))
    configs = {part: dataclasses.replace(config, cores=1, reuse_distance=far) for part, far in distances.items()}
    results: dict[str, Any] = {"reuse_distance": reuse_distance}
    with progress_bars() as progress:
        for part, each in configs.items():
            step = progress.add_task(f"{TITLES[part]}: build the model", total=None)
            build("simpicker", each)
            progress.update(step, total=1, completed=1)
            results[part] = [found for heads in layers for found in runs(each, heads, progress)]
    path = write_results("utilisation", name, config, results)
    console.print(table(results))
    console.print(f"results: {path}")


def runs(config: Config, heads: Sequence[Head], progress: Progress) -> Iterator[dict[str, Any]]:
    """Figures of each head of a layer alone, and of all of them in one run if there are several."""
    step = progress.add_task("golden model", total=1)
    plans, single = plan(config, heads), plan(dataclasses.replace(config, group_window=1), heads)
    unpacked = [ungrouped(config, made.rows, made.prepared.key_tiles, made.tiers).schedule for made in single]
    layer = [Work(*each) for each in zip(plans, planned_words(config, plans), single, unpacked, strict=True)]
    progress.update(step, completed=1)
    for part in [[each] for each in layer] + [layer] * (len(layer) > 1):
        yield run(config, part, progress)


def run(config: Config, layer: Sequence[Work], progress: Progress) -> dict[str, Any]:
    """Figures of some heads, one after the other."""
    name = " ".join(each.made.head.name for each in layer)
    simulated = simulate_heads(config, name, [each.words for each in layer], progress)
    tokens = sum(len(each.made.head.q) for each in layer)
    computed = sum(len(each.made.rows.order) for each in layer)
    without = head_cycles(config, [each.alone for each in layer], in_order).total
    return {
        "heads": name,
        "tokens": tokens,
        "rows_reused": 1 - computed / tokens,
        "cycles": simulated["cycles"],
        "predicted": head_cycles(config, [each.made for each in layer]).total,
        "lane_utilisation": busy(config, [each.made.grouping.schedule for each in layer], simulated["cycles"]),
        "lost": lost(simulated["counters"]),
        "ungrouped": {
            "cycles": without,
            "lane_utilisation": busy(config, [each.unpacked for each in layer], without),
        },
        **{key: simulated[key] for key in ("mismatches", "words_compared", "counters")},
        **{key: simulated[key] for key in ("simulated_cycles_per_second", "run_seconds")},
    }


def table(results: Mapping[str, Any]) -> Table:
    """A column for every run."""
    found = [(title, each) for part, title in TITLES.items() for each in results[part]]
    out = Table("", *(each["heads"] for _, each in found), title="Complete heads in the hardware, one core")
    out.add_row("", *(title for title, _ in found))
    for label, cell in LINES.items():
        out.add_row(label, *(cell(each) for _, each in found))
    return out


if __name__ == "__main__":
    main(utilisation)
