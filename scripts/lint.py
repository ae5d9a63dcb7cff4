"""`make lint`: Verilator's strictest lint over the Verilog of every component."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click
from rich.progress import track
from rich.table import Table

import rtl
from golden.config import Config
from rtl.components import COMPONENTS
from rtl.emit import to_verilog
from scripts.cli import FAILED, console, describe, main, with_preset
from scripts.results import write_results
from sim.tools import verilator_environment

WAIVERS = Path(rtl.__path__[0]) / "waivers.vlt"


BODY = "__body"
"""Ends the names of modules that are linted, as against what their instances see of them."""

_MODULE = re.compile(r"^module (\\?)([^\s(]+)( ?)(\(.*?^endmodule)$", re.MULTILINE | re.DOTALL)
_PORTS = re.compile(r"^  (?:input|output) .*;$", re.MULTILINE)
_OUTPUT = re.compile(r"^  output .*?(\S+ ?);$", re.MULTILINE)


def lint_verilog(text: str, top: str) -> list[str]:
    """What Verilator has to say about a design, a line each; nothing if it is clean.

    Every module is linted once, on its own: those that it instantiates are empty shells to it. Verilator would unfold
    each instance anew, which takes hours and all memory for large designs. Loops through several modules do not show
    that way: see `lint_whole`.
    """
    shells = [_shell(module) for module in _MODULE.finditer(text) if module[2] != top]
    return lint_whole("\n".join([_MODULE.sub(rf"module \1\2{BODY}\3\4", text), *shells]), top)


def lint_component(config: Config, name: str) -> list[str]:
    """What Verilator has to say about a component."""
    return lint_verilog(to_verilog(COMPONENTS[name](config), name), name)


def _shell(module: re.Match[str]) -> str:
    """A module with the same ports and no contents."""
    header, declarations = module[0].partition(");\n")[0], _PORTS.findall(module[0])
    outputs = [f"  assign {name} = 0;" for name in _OUTPUT.findall(module[0])]
    return "\n".join([f"{header});", *declarations, *outputs, "endmodule\n"])


def lint_whole(text: str, top: str) -> list[str]:
    """The same with all instances unfolded, for small designs."""
    environment = os.environ | verilator_environment()
    verilator = Path(environment["VERILATOR_ROOT"]) / "bin" / "verilator"
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, f"{top}.v")
        source.write_text(text)
        command = ["perl", verilator, "--lint-only", "-Wall", "-Wno-MULTITOP", WAIVERS, source]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    said = [line.replace(f"{name}/", "") for line in done.stderr.splitlines() if line.startswith("%")]
    return said or ([f"%Error: exit code {done.returncode}"] if done.returncode else [])


def waivers() -> list[dict[str, str]]:
    """The rules that are off, each with its reason."""
    found = re.findall(r"^lint_off -rule (\w+).*?// (.*)$", WAIVERS.read_text(), re.MULTILINE)
    return [{"rule": rule, "reason": reason} for rule, reason in found]


@click.command()
@with_preset
def lint(name: str, config: Config) -> None:
    """Lint the Verilog of every component of a preset."""
    console.print(describe(name, config))
    components: list[dict[str, Any]] = []
    with ProcessPoolExecutor() as pool:
        # The complete core, the last one, takes longest by far.
        linted = {component: pool.submit(lint_component, config, component) for component in reversed(COMPONENTS)}
        for component in track(COMPONENTS, "linting", console=console, transient=True):
            components.append({"name": component, "warnings": linted[component].result()})
    table = Table("component", "warnings", "first of them", title="verilator --lint-only -Wall")
    for entry in components:
        table.add_row(entry["name"], str(len(entry["warnings"])), *entry["warnings"][:1])
    console.print(table)
    for waiver in waivers():
        console.print(f"waived: {waiver['rule']}: {waiver['reason']}")
    path = write_results("lint", name, config, {"components": components, "waivers": waivers()})
    console.print(f"results: {path}")
    if any(entry["warnings"] for entry in components):
        raise SystemExit(FAILED)


if __name__ == "__main__":
    main(lint)
