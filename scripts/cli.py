"""What all commands share: the choice of a preset, and how errors end."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden.config import Config
from golden.presets import DEFAULT_PRESET, PRESETS, preset
from sim.model import BuildFailed
from sim.simulate import BenchFailed
from sim.tools import ToolMissing

console = Console(highlight=False, soft_wrap=True)

WRONG_INPUT, FAILED = 2, 1
"""Exit codes: the input is wrong or a tool is missing, so nothing was done; or it was done, and the result is bad."""


def with_preset(function: Callable[..., None]) -> Callable[..., None]:
    """A command's option `--preset`; the function gets `name` and `config`. A file is called by its stem."""

    @click.option(
        "--preset", "name", default=DEFAULT_PRESET, show_default=True, help=f"One of {', '.join(PRESETS)}, or a file."
    )
    @functools.wraps(function)
    def wrapped(name: str, **arguments: Any) -> None:
        function(name=Path(name).stem, config=preset(name), **arguments)

    return wrapped


def main(command: click.Command) -> None:
    """Run a command. What is wrong is said in one line, without a traceback."""
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        _end(error.format_message(), WRONG_INPUT)
    except (ValueError, OSError, ToolMissing) as error:
        _end(str(error), WRONG_INPUT)
    except (BuildFailed, BenchFailed) as error:
        _end(str(error), FAILED)
    except (click.Abort, KeyboardInterrupt):
        _end("interrupted", FAILED)


def _end(message: str, code: int) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def progress_bars() -> Progress:
    """Bars of steps that take long, below each other."""
    columns = (
        TextColumn("{task.description:32}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console)


def rows_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """A table of equal records."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{cell:,.4g}" if isinstance(cell, float) else str(cell) for cell in row.values()))
    return table


def describe(name: str, config: Config) -> str:
    """A preset in one line."""
    return (
        f"preset {name} ({config.hash}): head_dim {config.head_dim}, {config.query_rows} rows, {config.lanes} lanes, "
        f"{config.banks} banks, {config.table} tables, {config.float_format}, {config.digits} digits"
    )
