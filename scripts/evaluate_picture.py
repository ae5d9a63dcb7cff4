"""The picture of an evaluation: error against work for every rule, and what each part of ours is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from scripts.evaluation import DROPPED, ORACLE, OURS, POOLED

INK, FAINT, ACCENT = "#1d2336", "#7a8194", "#d9480f"
STYLES: dict[str, tuple[str, str, str, str]] = {
    OURS: ("SIMPICKER", ACCENT, "-", "o"),
    ORACLE: ("with the true attention known", "#f28e4c", ":", "o"),
    POOLED: ("pooled top-k, the rest in INT4", "#5c7cfa", "-", "s"),
    DROPPED: ("our choice, the rest dropped", "#7048e8", "-", "^"),
    "sparge": ("block skipping (SpargeAttn)", "#1098ad", "--", "v"),
    "svg": ("spatial or temporal mask (SVG)", "#37b24d", "--", "D"),
    "cmc": ("merging over time (CMC)", "#ae3ec9", "--", "P"),
    "adaptiv": ("merging by signs (AdapTiV)", "#868e96", "--", "X"),
    "int4": ("all INT4", INK, "", "*"),
    "int8": ("all INT8", INK, "", "p"),
}
"""Label, colour, line and marker of each series."""
GOAL = 0.02
"""Mean error that is asked for."""


def draw(curves: list[dict[str, Any]], ablation: list[dict[str, Any]], path: str | Path) -> None:
    """Write a PNG, 1,400 pixels wide, of the `curves` and `ablation` of evaluate.json."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(14, 6.4), dpi=100, layout="constrained", gridspec_kw={"width_ratios": (1.5, 1)}
    )
    _curves(left, curves)
    _ablation(right, ablation)
    figure.savefig(path, format="png", metadata={"Software": None})
    plt.close(figure)


def _curves(axes: Axes, curves: list[dict[str, Any]]) -> None:
    for series, (label, colour, line, marker) in STYLES.items():
        rows = [row for row in curves if row["rule"] == series]
        if not rows:
            continue
        work, mean = [row["work"] for row in rows], [row["rel_l2_mean"] for row in rows]
        main = series == OURS
        axes.plot(
            work, mean, line, color=colour, marker=marker, label=label, linewidth=2.4 if main else 1.4, zorder=3 + main
        )
        if main:
            worst = [row["rel_l2_worst"] for row in rows]
            axes.fill_between(work, mean, worst, color=colour, alpha=0.15, label="up to its worst head", linewidth=0)
    axes.axhline(GOAL, color=FAINT, linewidth=0.8, linestyle=(0, (4, 4)))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlim(0.2, None)
    axes.set_xlabel("work: table passes for each product of dense attention (all INT8: 2)", color=INK)
    axes.set_ylabel("relative L2 error of the output, mean over heads", color=INK)
    axes.set_title("Error against work", fontsize=13, fontweight="bold", color=INK)
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    axes.grid(alpha=0.25, which="both")
    plain(axes)


def _ablation(axes: Axes, ablation: list[dict[str, Any]]) -> None:
    names = [row["change"] for row in ablation]
    mean, worst = ([row[key] for row in ablation] for key in ("rel_l2_mean", "rel_l2_worst"))
    places = range(len(names))
    axes.barh(places, worst, color="#f1d3c4", height=0.62, label="worst head")
    axes.barh(places, mean, color=ACCENT, height=0.62, label="mean")
    for place, row in zip(places, ablation, strict=True):
        text = f"{row['rel_l2_mean']:.4f}, {row['passes_per_product']:.2f} passes, balance {row['balance']:.2f}"
        axes.text(row["rel_l2_worst"], place, f"  {text}", va="center", fontsize=9, color=INK)
    axes.set_yticks(list(places), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 2.3 * max(worst))
    axes.set_xlabel("relative L2 error", color=INK)
    axes.set_title("One thing changed at a time", fontsize=13, fontweight="bold", color=INK)
    axes.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1, 0.42))
    plain(axes)


def plain(axes: Axes) -> None:
    """Only what carries information."""
    axes.tick_params(length=0, colors=FAINT, which="both")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
