"""The picture of a run: for every head what attention looks at, and beside it how exactly each block was computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from golden.config import Tier
from golden.tiles import Tiles

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm

TIER_COLOURS = {Tier.LUT4: "#232946", Tier.LUT8: "#f28e4c", Tier.FULL: "#fcf3c0"}
INK, FAINT = "#1d2336", "#7a8194"
SIZE_INCHES = 6.0
"""Height of a head's row; the picture is 14 inches or 1,400 pixels wide."""
DECADES = 3
"""Decades of mass below the largest that the colours of the attention map span."""


@dataclasses.dataclass(frozen=True)
class HeadPanel:
    """One row of the picture."""

    title: str
    rows: Tiles
    columns: Tiles
    """Tiles, and pieces as tiles of their own"""
    attention: NDArray[np.float64]
    """[query_tiles, key_pieces], mean softmax mass: `golden.oracle.attention_map`"""
    tiers: NDArray[np.int8]
    """[query_tiles, key_pieces]"""
    rel_l2: float
    """Relative L2 error of the output against the float64 oracle"""
    rel_l2_dropped: float
    """The same if the blocks below LUT8 were dropped"""

    @property
    def top_mass(self) -> float:
        """Share of the softmax mass that lies in blocks above LUT4."""
        held = (self.attention * (self.tiers > Tier.LUT4)).sum(axis=1)
        return float(np.average(held, weights=np.diff(self.rows.start)))


def draw_heads(panels: Sequence[HeadPanel], path: str | Path) -> None:
    """Write a PNG with a row for every head: its attention map and its tier map. No panels raise ValueError."""
    if not panels:
        raise ValueError("panels: must be at least one")
    figure = plt.figure(figsize=(14, SIZE_INCHES * len(panels) + 0.6), dpi=100, facecolor="white", layout="constrained")
    rows = figure.subfigures(len(panels), 1, squeeze=False)[:, 0]
    for row, panel in zip(rows, panels, strict=True):
        row.suptitle(panel.title, fontsize=15, fontweight="bold", color=INK)
        left, right = row.subplots(1, 2)
        _draw_attention(left, panel)
        _draw_tiers(right, panel)
    figure.savefig(path, format="png", metadata={"Software": None})
    plt.close(figure)


def _draw_attention(axes: Axes, panel: HeadPanel) -> None:
    top = float(panel.attention.max())
    norm = LogNorm(max(float(panel.attention.min()), top / 10**DECADES), top, clip=True)
    image = axes.imshow(panel.attention, cmap="inferno", norm=norm, interpolation="nearest", aspect="auto")
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("softmax mass", color=FAINT)
    bar.outline.set_visible(False)
    axes.set_title(f"Attention: {panel.top_mass:.0%} of its mass lies in the top tiers", fontsize=12, color=INK)
    _frame_lines(axes, panel.rows, panel.columns)


def _draw_tiers(axes: Axes, panel: HeadPanel) -> None:
    colours = ListedColormap([TIER_COLOURS[tier] for tier in Tier])
    norm = BoundaryNorm(np.arange(len(Tier) + 1) - 0.5, len(Tier))
    image = axes.imshow(panel.tiers, cmap=colours, norm=norm, interpolation="nearest", aspect="auto")
    used = [tier for tier in Tier if (panel.tiers == tier).any()]
    bar = axes.figure.colorbar(
        image, ax=axes, fraction=0.04, pad=0.02, ticks=used, boundaries=_edges(used), values=used
    )
    bar.ax.set_yticklabels([f"{tier.name}\n{np.mean(panel.tiers == tier):.0%}" for tier in used])
    bar.ax.tick_params(length=0, which="both")
    bar.outline.set_visible(False)
    text = f"Tiers: error {panel.rel_l2:.4f}; {panel.rel_l2_dropped:.3f} if LUT4 were dropped"
    axes.set_title(text, fontsize=12, color=INK)
    _frame_lines(axes, panel.rows, panel.columns)


def _edges(used: Sequence[Tier]) -> list[float]:
    """Boundaries of the colour bar around the tiers in use."""
    return [used[0] - 0.5, *(tier + 0.5 for tier in used)]


def _frame_lines(axes: Axes, rows: Tiles, columns: Tiles) -> None:
    """Lines between the frames, and their numbers as ticks."""
    for frames, line, axis in (
        (columns.frame, axes.axvline, axes.xaxis),
        (rows.frame, axes.axhline, axes.yaxis),
    ):
        edges = np.flatnonzero(np.diff(frames)) + 0.5
        for edge in edges:
            line(edge, color="white", linewidth=0.8, alpha=0.6)
        starts = np.concatenate([[-0.5], edges, [len(frames) - 0.5]])
        names = [str(frame) if frame >= 0 else "text" for frame in frames[(starts[:-1] + 0.5).astype(int)]]
        axis.set_ticks((starts[:-1] + starts[1:]) / 2, names)
    axes.set_xlabel("keys, by frame", color=FAINT)
    axes.set_ylabel("queries, by frame", color=FAINT)
    axes.tick_params(length=0, colors=FAINT)
    for side in axes.spines.values():
        side.set_visible(False)
