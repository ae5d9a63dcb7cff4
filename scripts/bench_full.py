"""The tier FULL by table passes, by multipliers in DSP blocks, or replaced by LUT8: area, cycles and error of each.

The area is that of the attention core, put together from its parts. Yosys leaves the registers around a multiplier
outside the DSP block that has them, so that flip-flops are an upper bound.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from rich.table import Table

from golden.config import Config
from golden.cycles import cycles
from golden.head_cycles import head_cycles
from golden.layer import attend, plan
from golden.oracle import attend as exact
from golden.oracle import relative_l2
from golden.traces import Head
from rtl.components import COMPONENTS
from rtl.emit import to_rtlil
from scripts.synth import synthesize_all
from scripts.yosys import Netlist, synthesize

CORE = (
    "align",
    "query_buffer",
    "arbiter",
    "key_buffer",
    "value_buffer",
    "sequencer",
    "key_multiplier",
    "score",
    "softmax",
    "value_multiplier",
    "accumulate",
    "normalise",
    "core",
)
"""The attention core, after its parts; the arbiter is one of the value buffer."""
MULTIPLIERS = ("key_multiplier", "value_multiplier")
ALONE = "multipliers alone"


@dataclasses.dataclass(frozen=True)
class Device:
    """An FPGA of a family: what it has of everything."""

    name: str
    target: str
    """a key of scripts.yosys.TARGETS"""
    luts: int
    dsps: int
    block_rams: int
    """blocks of 18 kbit"""


ECP5 = Device("LFE5U-85F", "ecp5", luts=83_640, dsps=156, block_rams=208)
KU5P = Device("XCKU5P", "xilinx", luts=216_960, dsps=1_824, block_rams=960)
VU19P = Device("XCVU19P", "xilinx", luts=4_085_760, dsps=3_840, block_rams=4_320)


def device(name: str) -> Device:
    """The FPGA that a preset is meant for, or what is as large; the small one for those that are meant for none."""
    return {"amd": KU5P, "paper": VU19P}.get(name, ECP5)


def variants(config: Config) -> dict[str, Config]:
    """What is compared: also multipliers for both top tiers, as FULL then takes less than LUT8, or for all products."""
    tables = dataclasses.replace(config, digits=3, full_engine="tables")
    multipliers = dataclasses.replace(tables, full_engine="multipliers")
    return {
        "tables": tables,
        "multipliers": multipliers,
        "LUT8 instead": dataclasses.replace(tables, digits=2),
        "multipliers, both": dataclasses.replace(multipliers, full_share=config.top_share),
        ALONE: dataclasses.replace(multipliers, full_share=1, top_share=1),
    }


def bench_full(
    name: str, config: Config, heads: list[Head], told: Callable[[str], object] = lambda _: None
) -> list[dict[str, Any]]:
    """A row for every variant. Cycles are those of all heads, of the attention core and of the complete one."""
    on = device(name)
    reference = [exact(head) for head in heads]
    cores: dict[Any, list[Netlist]] = {}
    rows: list[dict[str, Any]] = []
    for variant, each in variants(config).items():
        shape = each.digits, each.full_engine
        if shape not in cores:
            cores[shape] = synthesize_all(each, on.target, names=CORE, told=told)
        told(f"FULL by {variant}: golden")
        parts = tableless(each, cores[shape], on.target) if variant == ALONE else cores[shape]
        rows.append({"variant": variant, **area(parts, on), **speed(each, heads, reference)})
    for row in rows:
        row["luts_x_cycles"] = row["luts"] * row["cycles"] / (rows[0]["luts"] * rows[0]["cycles"])
    return rows


def named(netlists: Iterable[Netlist]) -> dict[str, Netlist]:
    """The netlists by name."""
    return {netlist.name: netlist for netlist in netlists}


def tableless(config: Config, netlists: Iterable[Netlist], target: str) -> list[Netlist]:
    """The core without tables and readers: of its multipliers only the arrays, without what moves beside them."""
    parts = named(netlists)
    for name in MULTIPLIERS:
        rtlil = to_rtlil(COMPONENTS[name](config), name)
        (top,) = re.findall(r"^module \\(products_\S+)", rtlil, re.MULTILINE)
        core, array, before = parts["core"], synthesize(rtlil, top, target), parts[name]
        changed = {
            each: getattr(core, each) - getattr(before, each) + getattr(array, each)
            for each in ("luts", "registers", "dsps")
        }
        parts |= {name: dataclasses.replace(array, name=name), "core": dataclasses.replace(core, **changed)}
    return list(parts.values())


def area(netlists: Iterable[Netlist], on: Device) -> dict[str, Any]:
    """What the core takes, that of it in both multipliers, and what the device has too little of."""
    parts = named(netlists)
    core = parts["core"]
    short = [what for what in ("luts", "dsps", "block_rams") if getattr(core, what) > getattr(on, what)]
    return {
        "luts": core.luts,
        "luts_of_multipliers": sum(parts[part].luts for part in MULTIPLIERS),
        "registers": core.registers,
        "dsps": core.dsps,
        "block_rams": core.block_rams,
        "lutram_bits": core.lutram_bits,
        "device": on.name,
        "lacks": short,
    }


def speed(config: Config, heads: list[Head], reference: list[np.ndarray]) -> dict[str, Any]:
    """Cycles and the relative L2 error over all heads, as golden plans and computes them."""
    plans = plan(config, heads)
    outputs = [attend(config, made) for made in plans]
    return {
        "cycles": sum(cycles(config, made.grouping.schedule).total for made in plans),
        "complete_cycles": head_cycles(config, plans).total,
        "rel_l2": relative_l2(np.concatenate(outputs), np.concatenate(reference)),
    }


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows, less what only the results keep."""
    out = Table(title=f"full: the core on {rows[0]['device']}")
    out.add_column("FULL by", no_wrap=True)
    for column in ("LUTs", "DSPs", "lacks", "cycles", "error", "LUTs x cycles"):
        out.add_column(column, justify="right", no_wrap=column == "cycles")
    for row in rows:
        counts = (f"{row[each]:,}" for each in ("luts", "dsps"))
        lacks = " ".join(row["lacks"])
        out.add_row(
            row["variant"], *counts, lacks, f"{row['cycles']:,}", f"{row['rel_l2']:.4f}", f"{row['luts_x_cycles']:.2f}"
        )
    return out
