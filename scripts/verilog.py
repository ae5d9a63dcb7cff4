"""`make verilog`: every component of a preset as Verilog, with its configuration and a manifest."""

from __future__ import annotations

import click
from rich.progress import track
from rich.table import Table

from golden.config import Config
from rtl.components import COMPONENTS
from rtl.emit import write
from scripts.cli import console, describe, main, with_preset
from scripts.results import folder, write_results


@click.command()
@with_preset
def verilog(name: str, config: Config) -> None:
    """Write build/<preset>/verilog/: <component>.v, config.json and manifest.json."""
    console.print(describe(name, config))
    out = folder(name) / "verilog"
    names = track(COMPONENTS, "generating", console=console, transient=True)
    manifest = write(config, name, out, names)
    files = [
        {"file": file, "bytes": len(text), "lines": text.count(b"\n"), "sha256": digest}
        for file, digest in manifest["files"].items()
        for text in [(out / file).read_bytes()]
    ]
    table = Table("file", "lines", "SHA-256", title=str(out))
    for entry in files:
        table.add_row(entry["file"], f"{entry['lines']:,}", entry["sha256"][:16])
    console.print(table)
    console.print(f"results: {write_results('verilog', name, config, {'files': files})}")


if __name__ == "__main__":
    main(verilog)
