"""`make test`: all tests, in parallel, with their figures as a result file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import click
from rich.table import Table

from golden.config import Config
from scripts.cli import FAILED, console, main, with_preset
from scripts.results import write_results

OUTCOMES = ("passed", "failed", "error", "skipped")


def suites(report: Path) -> dict[str, Counter[str]]:
    """Outcomes and seconds of every folder of tests, from pytest's JUnit report."""
    found: dict[str, Counter[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        # A file that is skipped as a whole is a case without a class, called by the file's name.
        folder = (case.get("classname") or case.get("name", "")).split(".")[1]
        outcome = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
        counter = found.setdefault(folder, Counter())
        counter["failed" if outcome == "failure" else outcome] += 1
        counter["seconds"] += float(case.get("time", 0))  # type: ignore[assignment]
    return found


@click.command(context_settings={"ignore_unknown_options": True})
@with_preset
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def test(name: str, config: Config, pytest_arguments: tuple[str, ...]) -> None:
    """Run pytest over tests/ on all cores; further arguments go to pytest."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        command = [sys.executable, "-m", "pytest", "-n", str(os.cpu_count()), f"--junitxml={report}", *pytest_arguments]
        code = subprocess.run(command, check=False).returncode
        if not report.exists():
            raise SystemExit(code or FAILED)
        found = suites(report)
    table = Table("tests", *OUTCOMES, "seconds of work", title="make test")
    for folder, counter in sorted(found.items()):
        table.add_row(folder, *(str(counter[o]) for o in OUTCOMES), f"{counter['seconds']:.0f}")
    console.print(table)
    keys = (*OUTCOMES, "seconds")
    figures = {"suites": [{"name": folder, **{key: c[key] for key in keys}} for folder, c in found.items()]}
    console.print(f"results: {write_results('test', name, config, figures)}")
    if code or not found:
        raise SystemExit(code or FAILED)


if __name__ == "__main__":
    main(test)
