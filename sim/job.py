"""What a bench is given, and what it reports: files in the folder that the environment variable SIMPICKER_JOB names."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

from golden.config import Config

VARIABLE = "SIMPICKER_JOB"
FIGURES, PROGRESS = "figures.json", "progress"


def write(folder: Path, config: Config, inputs: dict[str, Any]) -> None:
    """Lay out a job."""
    with (folder / "job.pickle").open("wb") as file:
        pickle.dump((config, inputs), file)


def read() -> tuple[Config, dict[str, Any]]:
    """The configuration and the inputs of the running bench."""
    with Path(os.environ[VARIABLE], "job.pickle").open("rb") as file:
        return pickle.load(file)


def report(**figures: Any) -> None:
    """Add figures to the bench's report."""
    Path(os.environ[VARIABLE], FIGURES).write_text(json.dumps(reported() | figures))


def reported() -> dict[str, Any]:
    """What the running bench has reported so far."""
    return read_figures(Path(os.environ[VARIABLE]))


def progress(share: float) -> None:
    """Say how much of the running bench's work is done, as a share of 1."""
    Path(os.environ[VARIABLE], PROGRESS).write_text(f"{share:.4f}")


def read_progress(folder: Path) -> float:
    """How much of a job is done."""
    try:
        return float((folder / PROGRESS).read_text())
    except (FileNotFoundError, ValueError):  # not begun, or just being written
        return 0.0


def read_figures(folder: Path) -> dict[str, Any]:
    """What the bench of a job has reported; nothing if it did not."""
    path = folder / FIGURES
    return json.loads(path.read_text()) if path.exists() else {}
