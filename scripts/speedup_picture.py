"""The picture of a speed-up: how it comes about, factor by factor, and what it is for every head."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from scripts.evaluate_picture import ACCENT, FAINT, INK, plain

STAGES = {
    "dense": "dense FP16",
    "tables": "tables,\nall in FULL",
    "tiers": "tiers",
    "reuse": "rows\nreused",
    "grouping": "grouping",
    "losses": "losses",
}
PLANS = {"modelled": ("as configured", INK), "reuse": ("rows reused", ACCENT)}
"""Parts of speedup.json, with label and colour."""
VIEWS = {"fp16_mac": ("equal area", "-", "o", 3), "same_lanes": ("same lanes", ":", "x", -10)}
"""Views, with label, line, marker, and by how many points a figure is above its marker."""


def draw(results: dict[str, Any], path: str | Path) -> None:
    """Write a PNG, 1,400 pixels wide, of speedup.json."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 5.6), dpi=100, layout="constrained")
    _stages(left, results)
    _heads(right, results)
    for axes in (left, right):
        axes.axhline(1, color=FAINT, linewidth=0.8, linestyle=(0, (4, 4)))
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.set_ylabel("times faster than dense FP16, in cycles", color=INK)
        axes.grid(alpha=0.25, axis="y")
        plain(axes)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, format="png", metadata={"Software": None})
    plt.close(figure)


def _stages(axes: Axes, results: dict[str, Any]) -> None:
    for part, (label, colour) in PLANS.items():
        for view, (held, style, marker, above) in VIEWS.items():
            factors = results[part]["summary"][view]["mean"]["factors"]
            reached = list(itertools.accumulate(factors.values(), lambda a, b: a * b, initial=1.0))
            axes.plot(range(len(reached)), reached, style, color=colour, marker=marker, label=f"{held}, {label}")
            axes.annotate(f"{reached[-1]:.2f}", (len(reached) - 1, reached[-1]), (8, above), textcoords="offset points")
    axes.set_xticks(range(len(STAGES)), list(STAGES.values()))
    axes.set_title("One thing switched on after the other, mean of heads", fontsize=13, fontweight="bold", color=INK)


def _heads(axes: Axes, results: dict[str, Any]) -> None:
    for part, (_, colour) in PLANS.items():
        heads = results[part]["heads"]
        for view, (_, _, marker, _) in VIEWS.items():
            axes.plot([head[view]["speedup"] for head in heads], marker, color=colour)
    axes.set_xticks(range(len(results["modelled"]["heads"])))
    axes.set_xlabel("head, in the order of the files", color=INK)
    axes.set_title("Every head", fontsize=13, fontweight="bold", color=INK)
