"""`make sim`: the cocotb benches, one for every component."""

from __future__ import annotations

from typing import Any

import click
from rich.progress import track
from rich.table import Table

from golden.config import Config
from rtl.components import COMPONENTS
from scripts.cli import FAILED, console, describe, main, with_preset
from scripts.results import write_results
from sim.simulate import BenchFailed, simulate


@click.command()
@with_preset
@click.option("--component", "chosen", multiple=True, type=click.Choice(list(COMPONENTS)), help="Only these; else all.")
@click.option("--seed", default=1, show_default=True, help="Seed of the random stimuli and stalls.")
@click.option("--waves", is_flag=True, help="Dump a waveform (VCD) of every bench.")
def sim(name: str, config: Config, chosen: tuple[str, ...], seed: int, waves: bool) -> None:
    """Run the bench of every component of a preset against the golden model, with random stalls on every port."""
    console.print(f"{describe(name, config)}; seed {seed}")
    components: list[dict[str, Any]] = []
    for component in track(chosen or COMPONENTS, "simulating", console=console, transient=True):
        try:
            figures = simulate(component, config, seed=seed, waves=waves)
        except BenchFailed as error:
            figures = {"failure": str(error)}
        components.append({"name": component, "seed": seed, **figures})
        console.print(line(components[-1]))
    table = Table("component", "words compared", "mismatches", "cycles", "build", "run", title="Benches")
    for entry in components:
        if "failure" in entry:
            table.add_row(entry["name"], "failed", entry["failure"])
            continue
        numbers = (f"{entry[key]:,}" for key in ("words_compared", "mismatches", "cycles"))
        table.add_row(entry["name"], *numbers, *(f"{entry[key]:.1f} s" for key in ("build_seconds", "run_seconds")))
    console.print(table)
    console.print(f"results: {write_results('sim', name, config, {'components': components})}")
    if any("failure" in entry for entry in components):
        raise SystemExit(FAILED)


def line(entry: dict[str, Any]) -> str:
    """What is said as soon as a bench ended."""
    outcome = entry.get("failure") or f"{entry['words_compared']:,} words compared, 0 mismatches"
    return f"{entry['name']}: {outcome}" + (f", waveform {entry['waves']}" if "waves" in entry else "")


if __name__ == "__main__":
    main(sim)
