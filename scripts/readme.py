"""`make readme`: the measured parts of README.md, from the results in build/."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from golden.presets import DEFAULT_PRESET, PRESETS
from rtl.files import write_text
from scripts.cli import console, main
from scripts.demo import LINES
from scripts.results import folder

ROOT = Path(__file__).parents[1]
PICTURES = ("demo.png",)


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


@click.command()
def readme() -> None:
    """Rewrite the generated sections of README.md and copy the pictures."""
    text = (ROOT / "README.md").read_text()
    for name, section in {"demo": demo_section()}.items():
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
