"""`make readme`: the measured parts of README.md, from the results in build/."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from golden.presets import DEFAULT_PRESET, PRESETS
from rtl.files import write_text
from scripts.bench_full import device
from scripts.cli import console, main
from scripts.demo import LINES
from scripts.designs import CODE_BITS, FLOAT_BITS, LABELS
from scripts.results import folder
from scripts.speedup import BASELINES, SUMMARIES, VIEWS
from scripts.speedup import LABELS as FACTORS
from scripts.style_report import SHOWN
from scripts.utilisation import LINES as RUN
from scripts.utilisation import TITLES

ROOT = Path(__file__).parents[1]
PICTURES = ("demo.png", "evaluate.png", "speedup.png", "styles.png", "video.png")
TOTALS: dict[str, tuple[str, str]] = {
    "error, mean over heads": ("rel_l2_mean", ".4f"),
    "error, worst head": ("rel_l2_worst", ".4f"),
    "products in FULL or LUT8": ("top_tier_share", ".1%"),
    "the same, worst layer": ("worst_layer_top_tier_share", ".1%"),
    "products removed": ("products_removed", ".1%"),
    "table passes for a dense product": ("passes_per_product", ".3f"),
    "speculation and matching, of dense products": ("speculation_share", ".2%"),
    "preparation, of dense products": ("preparation_share", ".2%"),
    "lane utilisation, worst head": ("lane_utilisation", ".1%"),
    "the same without grouping": ("lane_utilisation_ungrouped", ".1%"),
    "lane groups that collide in a bank": ("bank_collisions", "d"),
    "busiest core over the mean, worst head": ("balance", ".3f"),
    "the same without grouping or spreading": ("balance_ungrouped", ".3f"),
}
"""Figures of an evaluation, with their formats."""
FPGAS = ("ecp5", "amd", "paper")
"""Presets that are meant for one, or large enough for the largest."""
PARTS = ("core", "speculate", "prepare", "simpicker")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(header), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read(preset: str, verb: str) -> dict[str, Any]:
    """A result file; one that is missing raises ValueError naming the command that writes it."""
    path = folder(preset) / f"{verb}.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: make {verb} PRESET={preset}")
    results = json.loads(path.read_text())
    if results["config_hash"] != PRESETS[preset].hash:
        raise ValueError(f"{path} is of configuration {results['config_hash']}: run it again")
    return results


def demo_section() -> str:
    """Figures of `make demo`."""
    results = read(DEFAULT_PRESET, "demo")
    heads = results["heads"]
    return table(["", *(h["head"] for h in heads)], ([label, *map(cell, heads)] for label, cell in LINES.items()))


def evaluate_section() -> str:
    """Figures of `make evaluate`, as configured and with rows reused."""
    results = read(DEFAULT_PRESET, "evaluate")
    header = [
        f"{len(results['heads'])} heads",
        "as configured",
        f"rows closer than {results['reuse']['reuse_distance']} reused",
    ]
    totals = [results["total"], results["reuse"]["total"]]
    return table(header, ([label, *(f"{t[key]:{form}}" for t in totals)] for label, (key, form) in TOTALS.items()))


def speedup_section() -> str:
    """Figures of `make speedup`: mean, worst head and total of every speed-up, and of the factors at equal area."""
    results = read(DEFAULT_PRESET, "speedup")
    parts = [results["modelled"], results["reuse"]]

    def three(figure: Callable[[dict[str, Any]], float], view: str) -> list[str]:
        found = (part["summary"][view] for part in parts)
        return [" / ".join(f"{figure(each[key]):.2f}" for key in SUMMARIES) for each in found]

    def area(part: dict[str, Any]) -> str:
        ours = (part["areas"][view]["losses"] for view in (BASELINES[0], "cores", "core"))
        dense = (part["areas"][view]["dense"] for view in BASELINES)
        return " / ".join(f"{um2 / 1e6:.2f}" for um2 in (*ours, *dense))

    def passes(part: dict[str, Any]) -> str:
        return f"{sum(head['passes_per_product'] for head in part['heads']) / len(part['heads']):.3f}"

    def lanes(part: dict[str, Any]) -> str:
        return " / ".join(f"{layer['lane_utilisation']:.1%}" for layer in part["layers"])

    body = [[label, *three(lambda found: found["speedup"], view)] for view, label in VIEWS.items()]
    for name, label in FACTORS.items():
        body.append([f"- {label}", *three(lambda found, name=name: found["factors"][name], BASELINES[0])])
    body.append(["table passes for a dense product", *map(passes, parts)])
    body.append(["lanes busy, layer by layer", *map(lanes, parts)])
    body.append(["mm2: ours / each of several cores / its attention core / dense / fused dense", *map(area, parts)])
    reused = f"rows closer than {results['reuse']['reuse_distance']} reused"
    return table([f"{len(parts[0]['heads'])} heads: times faster", "as configured", reused], body)


def utilisation_section() -> str:
    """Figures of `make utilisation`: a column for every run."""
    results = read(DEFAULT_PRESET, "utilisation")
    runs = [(title, run) for part, title in TITLES.items() for run in results[part]]
    header = ["", *(f"{run['heads'].replace(' ', ', then ')}, {title}" for title, run in runs)]
    return table(header, ([label, *(cell(run) for _, run in runs)] for label, cell in RUN.items()))


def cycles_section() -> str:
    """Figures of `make bench PART=cycles` for every preset: how far predictions are off."""
    body = []
    for preset in PRESETS:
        results = read(preset, "bench")
        if "cycles" not in results:
            raise ValueError(f"{folder(preset) / 'bench.json'} has no cycles: make bench PART=cycles PRESET={preset}")
        rows = results["cycles"]
        worst = [f"{find(row['percent'] for row in rows):+.2f} %" for find in (min, max)]
        spans = (f"{find(row['simulated'] for row in rows):,}" for find in (min, max))
        body.append([preset, str(len(rows)), " to ".join(spans), " to ".join(worst)])
    return table(["preset", "workloads", "cycles", "predicted, over simulated"], body)


def synth_section() -> str:
    """Figures of `make synth` for presets on their FPGA."""
    body = []
    for preset in FPGAS:
        on = device(preset)
        found = {each["name"]: each for each in read(preset, f"synth_{on.target}")["components"]}
        for part in PARTS:
            counts = (found[part][key] for key in ("luts", "registers", "block_rams", "dsps"))
            share = found[part]["luts"] / on.luts
            body.append([preset, f"`{part}`", *(f"{count:,}" for count in counts), f"{share:.0%} of {on.name}"])
    return table(["preset", "component", "LUTs", "flip-flops", "block RAMs", "DSPs", "LUTs there are"], body)


def video_section() -> str:
    """Figures of `python -m scripts.video`: decibels of every video under every rule."""
    results = read(DEFAULT_PRESET, "video")
    videos = list(dict.fromkeys((run["clip"], run["seed"]) for run in results["runs"]))
    body = []
    for name, rule in results["rules"].items():
        found = {(r["clip"], r["seed"]): r["psnr"] for r in results["runs"] if r["rule"] == name}
        if all(found.values()):
            body.append([rule["label"], *(f"{found[video]:.1f} dB" for video in videos)])
    return table(["", *(f"clip {clip}, seed {seed}" for clip, seed in videos)], body)


def styles_section() -> str:
    """Figures of `make bench PART=styles`: area and energy of every style, for both numbers of readers shown."""
    results = read(DEFAULT_PRESET, "bench")
    if "styles" not in results:
        raise ValueError(f"{folder(DEFAULT_PRESET) / 'bench.json'} has no styles: make bench PART=styles")
    rows = [row for row in results["styles"] if row["code_bits"] in (CODE_BITS[0], FLOAT_BITS)]
    targets = {row["target"]: row["area_unit"] for row in rows}
    energies = [target for target, unit in targets.items() if unit != "LUTs"][:1]
    header = ["style", *(f"{target}, {unit}" for target, unit in targets.items()), *(f"{t}, fJ" for t in energies)]
    body = []
    for style, label in LABELS.items():
        line = [label]
        for target, figure in [(t, "area_per_product") for t in targets] + [
            (t, "energy_per_product") for t in energies
        ]:
            found = {row["readers"]: row for row in rows if row["style"] == style and row["target"] == target}
            line.append(" / ".join(f"{found[readers][figure]:.0f}" for readers in SHOWN) if found else "")
        body.append(line)
    return table(header, body)


@click.command()
def readme() -> None:
    """Rewrite the generated sections of README.md and copy the pictures."""
    text = (ROOT / "README.md").read_text()
    sections = {
        "demo": demo_section(),
        "evaluate": evaluate_section(),
        "speedup": speedup_section(),
        "utilisation": utilisation_section(),
        "cycles": cycles_section(),
        "synth": synth_section(),
        "video": video_section(),
        "styles": styles_section(),
    }
    for name, section in sections.items():
        pattern = rf"(<!-- {name} -->\n).*(<!-- /{name} -->)"
        text, count = re.subn(pattern, lambda m, s=section: f"{m[1]}{s}\n{m[2]}", text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"README.md: has {count} sections {name!r}: must be one")
    (ROOT / "docs").mkdir(exist_ok=True)
    for picture in PICTURES:
        shutil.copyfile(folder(DEFAULT_PRESET) / picture, ROOT / "docs" / picture)
    write_text(ROOT / "README.md", text)
    console.print(f"README.md and docs/ ({', '.join(PICTURES)}) are those of build/")


if __name__ == "__main__":
    main(readme)
