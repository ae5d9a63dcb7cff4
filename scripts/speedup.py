"""`make speedup`: how many times faster, in cycles, the complete core is than a dense FP16 core, and by what."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from golden.config import Config
from scripts.cell_library import Library
from scripts.cli import console, describe, main, with_preset
from scripts.core_areas import BASELINES, DENSE, TOP, Modules, measured, memory, share, stage_areas, um2
from scripts.default_library import default_library
from scripts.demo import SAMPLE, choose_layers
from scripts.evaluate import CORES, REUSE_DISTANCE
from scripts.liberty import read
from scripts.module_areas import Area
from scripts.results import folder, write_results
from scripts.speedup_picture import draw
from scripts.stages import FACTORS, Layer, Stages, factors, geometric_mean, layer_cycles, summed

SAME_LANES = "same_lanes"
VIEWS = {
    SAME_LANES: "same rows and lanes",
    "fp16_mac": "equal area",
    "fp16_fused": "equal area, fused FP16 dot products",
    "cores": f"equal area, {CORES} cores behind one preparation",
    "core": "equal area, the attention core alone",
}
"""What is held equal: nothing but rows and lanes, or the area of a baseline and ours; or of the first one and a part of
ours: each of several cores, with what they share divided among them, or the core that computes attention."""
SUMMARIES = {"mean": "geometric mean", "worst": "worst head", "total": "ratio of totals"}
LABELS = {
    "tables": "tables for multiply-adds, all in FULL",
    "tiers": "speculation: tiers",
    "reuse": "rows reused",
    "grouping": "grouping",
    "losses": "losses: what does not hide",
}
"""What the factors are, in the order in which things are switched on."""
WORKER = ("core", "speculate", "tier_buffer", "group", "restore")
PARTS = (TOP, "prepare", "reuse", "compact", "prepare_query", "worker", *WORKER)
"""What is told of the complete core: it, and the parts that it consists of."""


@click.command()
@with_preset
@click.argument("traces", nargs=-1, type=click.Path(path_type=Path))
@click.option("--head", "chosen", type=int, multiple=True, help="Only these heads of every file, counted from 0.")
@click.option("--reuse-distance", default=REUSE_DISTANCE, show_default=True, help="Of the point with rows reused.")
@click.option("--liberty", type=click.Path(path_type=Path), help="Cell library; else a free one is fetched.")
def speedup(
    name: str,
    config: Config,
    traces: tuple[Path, ...],
    chosen: tuple[int, ...],
    reuse_distance: float,
    liberty: Path | None,
) -> None:
    """Speed-up on the heads of TRACES (.npz, .safetensors), each file a layer, or of the sample of the repository."""
    reusing = dataclasses.replace(config, reuse_distance=config.reuse_distance or reuse_distance)
    configs = {"modelled": config, "reuse": reusing}
    layers = choose_layers(config, traces, chosen)
    library = read(liberty or default_library())
    console.print(describe(name, config))
    with console.status("cycles of all stages") as status:
        counted = {part: [layer_cycles(each, layer) for layer in layers] for part, each in configs.items()}
        plain, *areas = (
            measured(name, dataclasses.replace(config, cores=1, reuse_distance=distance), library, status.update)
            for distance in (0.0, config.reuse_distance, reusing.reuse_distance)
        )
    modules, *others = ({part: Area(*area) for part, area in each["modules"].items()} for each in (plain, *areas))
    results: dict[str, Any] = {
        "traces": [path.name for path in traces] or [SAMPLE.name],
        "measured": {
            "library": plain["library"],
            "seconds": {part: found["seconds"] for part, found in zip(configs, areas, strict=True)},
            "areas": {part: measurements(each) for part, each in zip(configs, others, strict=True)},
        },
        "assumed": {"memory_bit_um2": memory(library, 1), "dense_shares": DENSE},
    }
    for (part, each), found in zip(configs.items(), others, strict=True):
        results[part] = {"reuse_distance": each.reuse_distance}
        results[part] |= evaluated(counted[part], all_areas(each, library, modules, found))
    report(name, config, results)


def measurements(modules: Modules) -> dict[str, dict[str, float]]:
    """What Yosys found of the main parts, and of a product of the dense cores."""
    shown = [part for part in modules if part in PARTS or part.split(".")[0] in BASELINES]
    return {part: modules[part]._asdict() for part in shown}


def all_areas(config: Config, library: Library, plain: Modules, modules: Modules) -> Mapping[str, Stages]:
    """um^2 at each stage, by baseline; and of one of several cores, and of the attention core alone, at every stage."""
    areas = {baseline: stage_areas(config, library, plain, modules, baseline) for baseline in BASELINES}
    first = areas[BASELINES[0]]
    parts = {
        "cores": share(library, modules, first["losses"], CORES),
        "core": um2(library, modules, ("core",)),
    }
    return areas | {view: {"dense": first["dense"]} | dict.fromkeys(FACTORS, part) for view, part in parts.items()}


def evaluated(layers: list[Layer], areas: Mapping[str, Stages]) -> dict[str, Any]:
    """Speed-ups and their factors for every head, every layer and in total."""
    heads = [head | views(head["cycles"], head["together"], areas) for layer in layers for head in layer.heads]
    total = views(summed([layer.cycles for layer in layers]), sum(layer.together for layer in layers), areas)
    return {
        "areas": areas,
        "heads": heads,
        "layers": [
            {"cycles": layer.cycles, "together": layer.together, "lane_utilisation": layer.lane_utilisation}
            | views(layer.cycles, layer.together, areas)
            for layer in layers
        ],
        "summary": {view: summary(view, heads, total[view]) for view in VIEWS},
    }


def views(cycles: Stages, together: float, areas: Mapping[str, Stages]) -> dict[str, Any]:
    """Speed-up and factors for everything that may be held equal; `together` are the cycles of several cores."""
    spent = dict.fromkeys(VIEWS, cycles) | {"cores": {**cycles, "losses": together}}
    found = {view: factors(spent[view], areas.get(view)) for view in VIEWS}
    return {view: {"speedup": math.prod(parts.values()), "factors": parts} for view, parts in found.items()}


def summary(view: str, heads: list[dict[str, Any]], total: dict[str, Any]) -> dict[str, Any]:
    """The geometric mean of the heads, the worst of them, and the ratio of all cycles."""
    mean = geometric_mean(head[view]["factors"] for head in heads)
    worst = min(heads, key=lambda head: head[view]["speedup"])
    return {
        "mean": {"speedup": math.prod(mean.values()), "factors": mean},
        "worst": {"head": worst["head"]} | worst[view],
        "total": total,
    }


def report(name: str, config: Config, results: dict[str, Any]) -> None:
    """Tables in the terminal, what is measured apart from what is modelled; files."""
    console.print(areas_table(results))
    for title, part in (("as configured", results["modelled"]), ("rows reused", results["reuse"])):
        console.print(heads_table(f"Modelled: cycles of dense FP16 over ours, {title}", part))
    path = write_results("speedup", name, config, results)
    picture = folder(name) / "speedup.png"
    draw(results, picture)
    console.print(f"results: {path}\npicture: {picture}")


def areas_table(results: dict[str, Any]) -> Table:
    """The areas that Yosys found, and with memories those of both cores."""
    out = Table("part", "cells, um2", "memory bits", title=f"Measured: {results['measured']['library']}, by Yosys")
    for areas in results["measured"]["areas"].values():
        for part, area in areas.items():
            out.add_row(part, f"{area['um2']:,.0f}", f"{area['memory_bits']:,}")
        out.add_section()
    bit = results["assumed"]["memory_bit_um2"]
    areas = results["modelled"]["areas"]
    for label, area in {"ours": areas[BASELINES[0]]["losses"], **{b: areas[b]["dense"] for b in BASELINES}}.items():
        out.add_row(f"core, {label}", f"{area:,.0f}", f"included, at {bit:.2f} um2 a bit")
    return out


def heads_table(title: str, part: dict[str, Any]) -> Table:
    """Speed-ups of the heads, and their factors at equal area, at equal lanes in parentheses; and of all heads."""
    out = Table("", "passes", "removed", "lanes busy", *VIEWS, *FACTORS, title=title)
    for head in part["heads"]:
        shares = (f"{head[share]:.1%}" for share in ("products_removed", "lane_utilisation"))
        out.add_row(head["head"], f"{head['passes_per_product']:.3f}", *shares, *cells(head))
    for layer in part["layers"]:
        out.add_row("a layer, head after head", "", "", f"{layer['lane_utilisation']:.1%}", *cells(layer))
    out.add_section()
    for key, label in SUMMARIES.items():
        out.add_row(label, "", "", "", *cells({view: part["summary"][view][key] for view in VIEWS}))
    return out


def cells(found: Mapping[str, Any]) -> list[str]:
    """The figures of a head, or of several."""
    same, equal = (found[view]["factors"] for view in (SAME_LANES, BASELINES[0]))
    factors = [f"{equal[name]:.2f} ({same[name]:.2f})" for name in FACTORS]
    return [*(f"{found[view]['speedup']:.2f}" for view in VIEWS), *factors]


if __name__ == "__main__":
    main(speedup)
