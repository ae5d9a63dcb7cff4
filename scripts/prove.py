"""`make prove`: properties of the components, proved for all inputs, each with its cover and its mutant."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import click
from rich.progress import track
from rich.table import Table

from golden.config import Config
from scripts.cli import FAILED, console, main, with_preset
from scripts.results import write_results
from sim.prove import Outcome, properties, prove


@click.command()
@with_preset
@click.option("--property", "names", multiple=True, help="Only these; else all.")
def prove_all(name: str, config: Config, names: tuple[str, ...]) -> None:
    """Prove all properties. They have small configurations of their own; the preset only names the result's folder."""
    wanted = properties(names)
    with ThreadPoolExecutor(2) as pool:
        done = track(pool.map(prove, wanted), "proving", total=len(wanted), console=console, transient=True)
        outcomes = list(done)
    console.print(table(outcomes))
    for outcome in outcomes:
        if outcome.finding:
            console.print(f"{outcome.name}: {outcome.finding}")
    figures = {"properties": [dataclasses.asdict(outcome) for outcome in outcomes]}
    console.print(f"results: {write_results('prove', name, config, figures)}")
    if not all(outcome.holds for outcome in outcomes):
        raise SystemExit(FAILED)


def table(outcomes: list[Outcome]) -> Table:
    """A row for every property."""
    out = Table(title="Proofs")
    for column in ("property", "component", "method", "depth", "time", "proved", "cover", "mutant"):
        out.add_column(column, no_wrap=True)
    for o in outcomes:
        marks = ("yes" if ok else "NO" for ok in (o.proved, o.cover_reached, o.mutant_killed))
        out.add_row(o.name, o.component, o.method, str(o.depth), f"{o.seconds:.0f} s", *marks)
    return out


if __name__ == "__main__":
    main(prove_all)
