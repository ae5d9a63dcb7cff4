"""`python -m scripts.control`: docs/control.md, the control plan of golden.control as tables."""

from __future__ import annotations

from collections.abc import Iterator

import click

from golden.control import COUNTS, EVENTS, LOOPS, SPECULATION, STAGES, Stage
from golden.latencies import latencies
from golden.presets import PRESETS
from rtl.files import write_text
from scripts.cli import console, main
from scripts.readme import ROOT, table

HEAD = """# The control plan

What happens when, written by `python -m scripts.control` from `golden/control.py`. RTL makes its counters and states
from the first three tables; `golden/head_cycles.py` adds up the cycles. A stage begins after the latest of each that
there was in this order: `measure keys` waits for `keys` of the head before.
"""
WHICH = {1: "", 2: " before the last", 3: " two before the last"}
"""How it is said which one of its kind a stage waits for"""


def waits(stage: Stage) -> str:
    """What a stage waits for."""
    return ", ".join(f"{name}{WHICH[latest]}" for name, latest in stage.after.items())


def sections() -> Iterator[tuple[str, str]]:
    """Headings and tables."""
    yield (
        "Attention under a query tile: loops, outermost first",
        table(["loop", "over", "at most"], ([loop.name, loop.over, loop.most or "not counted"] for loop in LOOPS)),
    )
    yield (
        "What a beat says",
        table(["event", "in"], ([e.name, f"the {e.edge} iteration of {', '.join(e.loops)}"] for e in EVENTS)),
    )
    yield (
        "Speculation for a query tile, step by step",
        table(
            ["step", "takes", "up to", "cycles"],
            ([step.name, step.takes, step.until or "one word", f"`{step.cycles}`"] for step in SPECULATION),
        ),
    )
    yield (
        "A head, stage by stage",
        table(
            ["stage", "of each", "begins after", "cycles"],
            ([stage.name, stage.each, waits(stage), f"`{stage.cycles}`"] for stage in STAGES),
        ),
    )
    yield "Counts", table(["count", "of what"], ([name, what] for name, what in COUNTS.items()))
    known = {name: latencies(config) for name, config in PRESETS.items()}
    yield (
        "Latencies",
        table(
            ["from its last word", *known],
            ([part, *(str(each[part]) for each in known.values())] for part in next(iter(known.values()))),
        ),
    )


def text() -> str:
    """The whole page."""
    return HEAD + "".join(f"\n## {heading}\n\n{body}\n" for heading, body in sections())


@click.command()
def control() -> None:
    """Write docs/control.md."""
    write_text(ROOT / "docs" / "control.md", text())
    console.print("docs/control.md is golden/control.py")


if __name__ == "__main__":
    main(control)
