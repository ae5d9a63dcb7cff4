"""The picture of generated videos: a row for every rule, a few frames beside each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")

from matplotlib import pyplot as plt

FRAMES, SIDE, PATCH = 16, 16, 8
"""Frames, patches a side of a frame, pixels a side of a patch."""
SHOWN = (0, 4, 8, 12, 15)
INK, FAINT = "#1d2336", "#7a8194"


def frames(video: NDArray[np.floating]) -> NDArray[np.float64]:
    """Frames [frames, height, width, RGB] in 0..1 of a video [1, tokens, channels * pixels of a patch] in -1..1."""
    patches = np.clip(video, -1, 1).astype(np.float64).reshape(FRAMES, SIDE, SIDE, 3, PATCH, PATCH)
    return (patches.transpose(0, 1, 4, 2, 5, 3).reshape(FRAMES, SIDE * PATCH, SIDE * PATCH, 3) + 1) / 2


def draw_videos(videos: Sequence[tuple[str, NDArray[np.floating]]], path: Path) -> None:
    """Write a PNG, 1,400 pixels wide, with a row for every title and video. None raise ValueError."""
    if not videos:
        raise ValueError("videos: must be at least one")
    figure = plt.figure(figsize=(14, 3.2 * len(videos) + 0.2), dpi=100, facecolor="white", layout="constrained")
    rows = figure.subfigures(len(videos), 1, squeeze=False)[:, 0]
    for row, (title, video) in zip(rows, videos, strict=True):
        row.suptitle(title, fontsize=16, fontweight="bold", color=INK)
        images = frames(video)
        for axes, frame in zip(row.subplots(1, len(SHOWN)), SHOWN, strict=True):
            axes.imshow(images[frame], interpolation="bicubic")
            axes.set_axis_off()
            axes.set_title(f"frame {frame}", y=-0.12, fontsize=12, color=FAINT)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(part, format="png", metadata={"Software": None})
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
        plt.close(figure)
