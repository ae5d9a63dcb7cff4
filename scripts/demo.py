"""`make demo`: complete heads of real attention in the generated hardware, compared bit for bit with golden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress, TaskID
from rich.table import Table

from golden.config import Config, Tier
from golden.layer import Plan, plan
from golden.oracle import attend, attend_dropping, attention_map, numerics_error, relative_l2
from golden.prepare import restore
from golden.traces import Head, load
from rtl.components import COMPONENTS
from rtl.counters import CYCLES
from rtl.emit import write
from scripts.cli import console, describe, main, progress_bars, with_preset
from scripts.picture import HeadPanel, draw_heads
from scripts.results import folder, write_results
from sim.head_words import HeadWords, head_words
from sim.model import build
from sim.simulate import simulate
from sim.tools import require_compiler
from sim.workload import Workload, planned, workload

SAMPLE = Path(__file__).parents[1] / "sample" / "street.npz"

LOST: dict[str, Callable[[dict[str, Any]], str]] = {
    "lost to speculation": lambda run: f"{run['lost']['speculation']:.1%}",
    "lost to loading keys and values": lambda run: f"{run['lost']['loading']:.1%}",
    "lost to other causes": lambda run: f"{run['lost']['other']:.1%}",
}
"""How causes of loss are shown, of a head or of a run; preparation has a name of its own in each."""

LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "words compared": lambda h: f"{h['words_compared']:,}",
    "mismatches": lambda h: f"{h['mismatches']}",
    "cycles": lambda h: f"{h['cycles']:,}",
    "products per cycle": lambda h: f"{h['products_per_cycle']:,.0f} of {h['peak_products_per_cycle']:,}",
    "lane utilisation": lambda h: f"{h['lane_utilisation']:.1%}",
    "lost to measuring and preparing": lambda h: f"{h['lost']['preparation']:.1%}",
    **LOST,
    "keys in FULL, LUT8, LUT4": lambda h: ", ".join(
        f"{h['tier_shares'][t.name]:.1%}" for t in sorted(Tier, reverse=True)
    ),
    "error": lambda h: f"{h['rel_l2']:.4f}",
    "error if LUT4 were dropped": lambda h: f"{h['rel_l2_dropped']:.4f}",
    "error with LUT8 everywhere": lambda h: f"{h['rel_l2_lut8']:.4f}",
    "error of the datapath alone": lambda h: f"{h['rel_l2_numerics']:.5f}",
    "simulated cycles per second": lambda h: f"{h['simulated_cycles_per_second']:,.0f}",
    "share of the bench in that": lambda h: f"{h['bench_share']:.0%}",
}
"""What is shown of a head, and how."""


@click.command()
@with_preset
@click.argument("traces", nargs=-1, type=click.Path(path_type=Path))
@click.option("--head", "chosen", type=int, multiple=True, help="Only these heads of every file, counted from 0.")
def demo(name: str, config: Config, traces: tuple[Path, ...], chosen: tuple[int, ...]) -> None:
    """Simulate every head of the TRACES (.npz, .safetensors), or of the sample that comes with the repository."""
    require_compiler()
    layers = choose_layers(config, traces, chosen)
    console.print(describe(name, config))
    out = folder(name)
    with progress_bars() as progress:
        # Golden first: what is wrong with the tensors shows before anything is built.
        plans = [made for heads in layers for made in plan(config, heads)]
        work = [golden_runs(config, made, progress) for made in plans]
        step = progress.add_task("generate Verilog", total=len(COMPONENTS))
        write(config, name, out / "verilog", advancing(COMPONENTS, progress, step))
        step = progress.add_task("build the Verilator model", total=None)
        build("simpicker", config)
        progress.update(step, total=1, completed=1)
        runs = [run(config, made, *pair, progress) for made, pair in zip(plans, work, strict=True)]
    draw_heads([panel for _, panel in runs], out / "demo.png")
    figures = [figures for figures, _ in runs]
    path = write_results("demo", name, config, {"heads": figures})
    console.print(table(figures))
    console.print(f"Verilog: {out / 'verilog'}\nresults: {path}\npicture: {out / 'demo.png'}")


def choose_layers(config: Config, traces: Sequence[Path], chosen: tuple[int, ...]) -> list[list[Head]]:
    """The chosen heads of every file, or of the sample if there is none."""
    return [choose(path, chosen) for path in traces] or [[fitting(config, head) for head in choose(SAMPLE, chosen)]]


def choose(path: Path, chosen: tuple[int, ...]) -> list[Head]:
    """All heads of a file, or the chosen ones."""
    heads = load(path)
    for index in chosen:
        if not 0 <= index < len(heads):
            raise ValueError(f"--head {index}: {path} has heads 0..{len(heads) - 1}")
    return [heads[index] for index in chosen] or heads


def fitting(config: Config, head: Head) -> Head:
    """The head, or its first channels if the configuration has less: so that the sample runs on every preset."""
    return head.cut(head.grid, min(config.head_dim, head.q.shape[1]))


def advancing(names: Iterable[str], progress: Progress, step: TaskID) -> Iterator[str]:
    """The names, one by one; the progress bar moves with them."""
    for name in names:
        yield name
        progress.advance(step)


def golden_runs(config: Config, made: Plan, progress: Progress) -> tuple[Workload, Workload]:
    """What the core is to compute: the head as it is planned, and for comparison with LUT8 everywhere."""
    head = made.head
    step = progress.add_task(f"{head.name}: golden model", total=len(made.rows.order) + len(head.q))

    def advance(rows: int) -> None:
        progress.advance(step, rows)

    return planned(config, made, advance), workload(config, head, Tier.LUT8, progress=advance)


def run(
    config: Config, made: Plan, work: Workload, uniform: Workload, progress: Progress
) -> tuple[dict[str, Any], HeadPanel]:
    """Figures and picture of one head, simulated."""
    head = made.head
    simulated = simulate_heads(config, head.name, [head_words(config, made, work.expected)], progress)
    figures = {"head": head.name, "tokens": len(head.q), "head_dim": head.q.shape[1]}
    figures |= measured(config, work, simulated) | errors(config, made, work, uniform)
    return figures, panel(made, figures)


def simulate_heads(config: Config, name: str, heads: Sequence[HeadWords], progress: Progress) -> dict[str, Any]:
    """Figures of the complete core's bench on heads, one after the other."""
    step = progress.add_task(f"{name}: simulate the hardware", total=1)
    simulated = simulate(
        "simpicker",
        config,
        testcase="heads",
        inputs={"heads": list(heads)},
        progress=lambda share: progress.update(step, completed=share),
    )
    progress.update(step, completed=1)
    return simulated


def measured(config: Config, work: Workload, simulated: dict[str, Any]) -> dict[str, Any]:
    """What the simulation of the hardware gave."""
    products = work.schedule.products(config)
    return {
        "words_compared": simulated["words_compared"],
        "mismatches": simulated["mismatches"],
        "cycles": simulated["cycles"],
        "products": products,
        "products_per_cycle": products / simulated["cycles"],
        "peak_products_per_cycle": config.peak_products,
        "lane_utilisation": products / simulated["cycles"] / config.peak_products,
        "lost": lost(simulated["counters"]),
        "counters": simulated["counters"],
        "simulated_cycles_per_second": simulated["simulated_cycles_per_second"],
        "bench_share": simulated["bench_share"],
        "run_seconds": simulated["run_seconds"],
    }


def lost(counters: dict[str, Any]) -> dict[str, float]:
    """Shares of the cycles in which no pass was computed, by cause, as the hardware counted them.

    Preparation is all until the first query tile is there. Then key tiles are loaded, the first ones once their values
    are prepared, though they are speculated meanwhile; and then groups wait for speculation. The rest is short lane
    groups, and what comes after the last pass.
    """
    causes = {"preparation": ["idle", "waits_query"], "speculation": ["waits_group"], "loading": ["waits_token"]}
    causes["other"] = ["waits_output", "waits_bank"]
    cycles = sum(counters[name] for name in CYCLES)
    return {cause: sum(counters[name] for name in names) / cycles for cause, names in causes.items()}


def errors(config: Config, made: Plan, work: Workload, uniform: Workload) -> dict[str, Any]:
    """Relative L2 errors against the float64 oracle; the golden model's output, which the hardware's is equal to."""
    reference = attend(made.head)
    return {
        "tier_shares": work.schedule.tier_shares(),
        "rel_l2": relative_l2(made.restore(work.expected), reference),
        "rel_l2_dropped": relative_l2(attend_dropping(made.head, made.prepared, made.rows, made.tiers), reference),
        "rel_l2_lut8": relative_l2(restore(made.prepared, uniform.expected), reference),
        "rel_l2_numerics": numerics_error(config, made.prepared, uniform.expected, Tier.LUT8),
    }


def panel(made: Plan, figures: dict[str, Any]) -> HeadPanel:
    """The head's row of the picture."""
    rows, columns = made.rows, made.prepared.key_tiles.pieces
    return HeadPanel(
        title=f"{made.head.name}: {figures['tokens']:,} tokens, {figures['lane_utilisation']:.1%} of the lanes busy",
        rows=rows,
        columns=columns,
        attention=attention_map(made.head, rows, columns),
        tiers=made.tiers,
        rel_l2=figures["rel_l2"],
        rel_l2_dropped=figures["rel_l2_dropped"],
    )


def table(figures: list[dict[str, Any]]) -> Table:
    """The figures of all heads, a column each."""
    title = "Hardware against the golden model, and both against float64"
    out = Table("", *(head["head"] for head in figures), title=title)
    for label, cell in LINES.items():
        out.add_row(label, *(cell(head) for head in figures))
    return out


if __name__ == "__main__":
    main(demo)
