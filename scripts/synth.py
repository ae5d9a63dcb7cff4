"""`make synth`: LUTs, registers, RAM and DSPs of every component of a preset on an FPGA."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import click
from rich.table import Table

from golden.config import Config
from rtl.components import COMPONENTS
from rtl.emit import to_rtlil
from rtl.files import write_text
from scripts.cli import console, describe, main, with_preset
from scripts.digests import digests
from scripts.results import folder, write_results
from scripts.yosys import TARGETS, Netlist, commands, synthesize


@click.command()
@with_preset
@click.option("--target", type=click.Choice(list(TARGETS)), default="ecp5", show_default=True, help="FPGA family.")
@click.option("--flatten", is_flag=True, help="Optimise across modules: exact, but slow beyond the preset tiny.")
def synth(name: str, config: Config, target: str, flatten: bool) -> None:
    """Synthesize every component; write build/<preset>/synth.json, and the same as synth_<target>.json."""
    console.print(describe(name, config))
    with console.status("synthesizing") as status:
        netlists = synthesize_all(config, target, flatten, told=status.update)
    figures = {
        "target": target,
        "flattened": flatten,
        "command": "; ".join(commands("<component>", target, flatten)),
        "components": [dataclasses.asdict(netlist) for netlist in netlists],
    }
    path = write_results("synth", name, config, figures)
    # One of each target, so that a second run does not lose the first.
    write_text(folder(name) / f"synth_{target}.json", path.read_text())
    console.print(table(netlists, f"{name} on {target}" + (", flattened" if flatten else ", sums over modules")))
    console.print(f"results: {path}")


def synthesize_all(
    config: Config,
    target: str,
    flatten: bool = False,
    names: Sequence[str] = tuple(COMPONENTS),
    told: Callable[[str], object] = lambda _: None,
) -> list[Netlist]:
    """Components in their order: unless flattened, those made of others are put together from these."""
    found: list[Netlist] = []
    known: dict[str, Netlist] = {}
    for name in names:
        told(f"synthesizing {name}")
        rtlil = to_rtlil(COMPONENTS[name](config), name)
        modules = digests(rtlil)
        own = modules.pop(name)
        parts = {} if flatten else {part: known[each] for part, each in modules.items() if each in known}
        found.append(netlist := synthesize(rtlil, name, target, flatten=flatten, parts=parts))
        known[own] = netlist
        console.print(f"  {name}: {netlist.luts:,} LUTs, {netlist.seconds:.0f} s")
    return found


def table(netlists: Iterable[Netlist], title: str) -> Table:
    """A row for every component."""
    columns = {
        "LUTs": "luts",
        "FFs": "registers",
        "RAM bits": "ram_bits",
        "BRAMs": "block_rams",
        "LUT RAM": "lutram_bits",
        "DSPs": "dsps",
    }
    out = Table(title=title)
    out.add_column("component", no_wrap=True)
    for column in columns:
        out.add_column(column, justify="right")
    for netlist in netlists:
        out.add_row(netlist.name, *(f"{getattr(netlist, field):,}" for field in columns.values()))
    return out


if __name__ == "__main__":
    main(synth)
