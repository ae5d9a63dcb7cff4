"""The comparison of styles for people: a table for each target, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from rich.table import Table

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from scripts.designs import BASELINES, CODE_BITS, FLOAT_BITS, LABELS

SHOWN = (16, 64)
"""Numbers of readers in the tables."""
INK, FAINT = "#1d2336", "#b6bccb"


def tables(rows: list[dict[str, Any]]) -> list[Table]:
    """For every target: what each style takes, beside the baselines."""
    found = []
    for target in dict.fromkeys(row["target"] for row in rows):
        here = [row for row in rows if row["target"] == target and row["readers"] in SHOWN]
        unit, delay = here[0]["area_unit"], here[0]["delay_unit"]
        columns = ("style", "code bits", "readers", f"{unit} / product", "to *", "to Booth", "to FP16 MAC", delay)
        table = Table(*columns, "fJ / product", "to Booth", "without glitches", title=target)
        for row in sorted(here, key=lambda row: (row["code_bits"], row["readers"], row["area_per_product"])):
            table.add_row(
                LABELS[row["style"]],
                str(row["code_bits"]),
                str(row["readers"]),
                f"{row['area_per_product']:.1f}",
                *map(number, (row[f"ratio_to_{name}"] for name in ("multiplier", "booth", "fp16_mac"))),
                f"{row['delay']:.2f}" + ("" if row["met"] else " (late)"),
                number(row["energy_per_product"], 0),
                number(row["energy_ratio_to_booth"]),
                number(row["energy_without_glitches_ratio_to_booth"]),
            )
        found.append(table)
    return found


def number(value: float | None, places: int = 2) -> str:
    """A number, or nothing."""
    return "" if value is None else f"{value:.{places}f}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Area per product over the readers of a table, relative to Booth's multiplier: a panel for each target and width.

    Baselines are grey; what lies below 1 is smaller than a good multiplier.
    """
    names = list(dict.fromkeys(row["target"] for row in rows))
    figure, panels = plt.subplots(
        len(CODE_BITS), len(names), figsize=(3.4 * len(names), 7.2), sharex=True, sharey=True, squeeze=False
    )
    lines: dict[str, Any] = {}
    for line, code_bits in zip(panels, CODE_BITS, strict=True):
        for panel, target in zip(line, names, strict=True):
            for n, (style, label) in enumerate(LABELS.items()):
                points = [
                    (row["readers"], row["ratio_to_booth"])
                    for row in rows
                    if row["style"] == style and row["target"] == target and row["code_bits"] in (code_bits, FLOAT_BITS)
                ]
                if points:
                    look = {"color": FAINT, "ls": ("-", "--", ":", "-.", (0, (1, 3)))[n]} if style in BASELINES else {}
                    (lines[label],) = panel.plot(*zip(*points, strict=True), label=label, lw=1.4, **look)
            panel.set(xscale="log", yscale="log", ylim=(0.3, 12))
            panel.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
            panel.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            panel.set_title(f"{target}, {code_bits}-bit codes", fontsize=9, color=INK)
    for panel in panels[-1]:
        panel.set_xlabel("readers of a table", fontsize=9)
    for panel in panels[:, 0]:
        panel.set_ylabel("area per product, to Booth", fontsize=9)
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
