"""`make bench`, the styles: area, delay and energy of every design on every target, as a table, figures and a picture.

A design is counted whole: tables and their filling, the double buffer, alignment, readers with their adder trees, the
conversion of the dot product to FP32, and in cells the buffers between a table and many readers. What readers share is
divided among them. Before anything is counted, the design has computed real attention scores, and they were golden's.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from golden.align import align
from golden.config import Config
from golden.formats import FP16
from golden.prepare import Prepared, prepare
from golden.traces import Head
from rtl.table_styles import STYLES
from scripts.buffers import cheapest
from scripts.cell_library import Library
from scripts.cells import rtlil_to_gates
from scripts.default_library import default_library
from scripts.demo import fitting
from scripts.design_costs import TOP, Cost, Target, cost, described
from scripts.design_energy import Netlists, PartEnergies, Run, product_energy
from scripts.designs import CODE_BITS, DOT, FLOAT_BITS, READERS, WIDTHS, Design, Part, designs, tabled
from scripts.liberty import read
from scripts.timing import loads, wire_default
from sim.gates import GENERIC, Network

FPGAS = ("ecp5", "xilinx")

Costs = dict[tuple[str, int, int, str, str], Cost]
"""By style, code bits, operand bits, part and target."""


def targets(libraries: Sequence[Path], clock_ns: float) -> list[Target]:
    """The FPGA families, and each library, or the default one, at minimum area and with a clock to meet."""
    found = [Target(name, fpga=name) for name in FPGAS]
    for path in libraries or [default_library()]:
        library = read(path)
        found.append(Target(library.name, library=library))
        found.append(Target(f"{library.name} {clock_ns:g} ns", library=library, clock_ns=clock_ns))
    return found


def every(config: Config, target: Target) -> list[Design]:
    """The designs that a target can have."""
    return designs(config, ram=bool(target.fpga))


def key(design: Design, part: str, target: Target) -> tuple[str, int, int, str, str]:
    """Where `Costs` has a part of a design on a target."""
    return design.style, design.code_bits, design.operand_bits, part, target.name


def all_costs(wanted: list[tuple[Design, Target]], told: Callable[[str], None]) -> Costs:
    """All parts of all designs, mapped by as many processes as there are cores."""
    jobs = [(design, part, target) for design, target in wanted for part in design.parts]
    found: Costs = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (design, part, target), mapped in zip(jobs, pool.map(lambda job: cost(job[1], job[2]), jobs), strict=True):
            found[key(design, part.name, target)] = mapped
            told(f"{len(found)} of {len(jobs)} parts mapped: {design.style} on {target.name}")
    return found


def part_area(design: Design, parts: Mapping[str, Cost], readers: int) -> float:
    """What the parts of a design take for each product, the shared ones divided among the readers."""
    return sum(parts[part.name].area / (part.products * (readers if part.shared else 1)) for part in design.parts)


def entry_loads(library: Library, netlist: Mapping[str, Any]) -> list[float]:
    """fF that a reader is to every bit of a table's entries."""
    reader = Network(netlist, library.gates)
    load = loads(reader, library, wire_default(library), 0.0)
    return [load.get(net, 0.0) for port in ("entries", "bias") for net in reader.ports.get(port, [])]


def fan_out(library: Library, entries: Sequence[float], readers: int) -> float:
    """um^2 of the buffers that bring a table's entries, each such a load to a reader, to all readers."""
    area = 0.0
    for one in entries if readers > 1 else []:
        cell, groups = cheapest(library, [one] * readers)
        area += cell.area * len(groups)
    return area


def gates(design: Design) -> Netlists:
    """The parts of a design as it is described for FPGAs. In cells, what has been mapped is compared with golden."""
    return {part.name: (part_gates(part), GENERIC) for part in design.parts}


@functools.cache
def part_gates(part: Part) -> dict[str, Any]:
    """A part as a netlist of gates that need no library."""
    return rtlil_to_gates(described(part, "carry"), TOP)


def rows(config: Config, head: Head, chosen: list[Target], told: Callable[[str], None]) -> list[dict[str, Any]]:
    """The figures of every design, code width and number of readers, on every target."""
    prepared = prepare(config, fitting(config, head))
    checked = [design for design in designs(config, ram=False) if any(target.fpga for target in chosen)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for design, netlists in zip(checked, pool.map(gates, checked), strict=True):
            Run(config, design, prepared, config.tile // config.lanes).inputs(netlists)
            told(f"as golden has it: {design.style}, {design.code_bits}-bit codes")
    costs = all_costs([(design, target) for target in chosen for design in every(config, target)], told)
    known: PartEnergies = {}
    found = []
    for target in chosen:
        for design in every(config, target):
            told(f"counting: {design.style}, {design.code_bits}-bit codes on {target.name}")
            found += design_rows(config, prepared, design, target, costs, known)
    for row in found:
        compare(row, found)
    return found


def design_rows(
    config: Config,
    prepared: Prepared,
    design: Design,
    target: Target,
    costs: Costs,
    known: PartEnergies,
) -> Iterator[dict[str, Any]]:
    """One design on one target, by the number of readers; `known` are the energies of parts seen before."""
    parts = {part.name: costs[key(design, part.name, target)] for part in design.parts}
    library = target.library
    mapped = {name: (one.netlist or {}, library.gates) for name, one in parts.items()} if library else {}
    entries = entry_loads(library, mapped["reader"][0]) if library else []
    for readers in READERS:
        area = part_area(design, parts, readers)
        spent = None
        if library:
            area += fan_out(library, entries, readers) / (DOT * readers)
            run = Run(config, design, prepared, max(1, config.tile // readers))
            spent = product_energy(run, mapped, library, readers, known)
        yield {
            "style": design.style,
            "readers": readers,
            "code_bits": design.code_bits,
            "operand_bits": design.operand_bits,
            "target": target.name,
            "area_unit": target.units[0],
            "area_per_product": area,
            "delay": max(one.delay for one in parts.values()),
            "delay_unit": target.units[1],
            "met": all(one.met for one in parts.values()),
            "dsps": sum(one.dsps for one in parts.values()),
            "energy_per_product": spent.total if spent else None,
            "energy_without_glitches": spent.settled if spent else None,
            "parts": {name: {"area": one.area, "delay": one.delay, "how": one.how} for name, one in parts.items()},
        }


def compare(row: dict[str, Any], found: list[dict[str, Any]]) -> None:
    """Adds the ratios to the baselines on the same target, with the same codes and as many readers."""
    for name, style in {"multiplier": "multiply", "booth": "booth", "fp16_mac": "fp16_mac"}.items():
        own_bits = CODE_BITS[0] if row["code_bits"] == FLOAT_BITS else row["code_bits"]
        bits = FLOAT_BITS if style == "fp16_mac" else own_bits
        same = [
            other
            for other in found
            if other["style"] == style
            and other["target"] == row["target"]
            and other["readers"] == row["readers"]
            and other["code_bits"] == bits
        ]
        for ratio, figure in {
            f"ratio_to_{name}": "area_per_product",
            f"energy_ratio_to_{name}": "energy_per_product",
            f"energy_without_glitches_ratio_to_{name}": "energy_without_glitches",
        }.items():
            row[ratio] = row[figure] / same[0][figure] if same and row[figure] is not None else None


def widths(config: Config, heads: list[Head], library: Library, told: Callable[[str], None]) -> list[dict[str, Any]]:
    """Operand widths: the error each gives on real q and p, and the area of every style, mapped in one attempt."""
    target = Target(library.name, library=library, quick=True)
    wanted = [tabled(config, style, CODE_BITS[0], width) for width in WIDTHS for style in STYLES]
    costs = all_costs([(design, target) for design in wanted], told)
    errors = {width: [width_error(config, head, width) for head in heads] for width in WIDTHS}
    found = []
    for design in wanted:
        for readers in (READERS[-3], READERS[-1]):
            parts = {part.name: costs[key(design, part.name, target)] for part in design.parts}
            query, prob = zip(*errors[design.operand_bits], strict=True)
            found.append(
                {
                    "operand_bits": design.operand_bits,
                    "style": design.style,
                    "readers": readers,
                    "target": target.name,
                    "area_per_product": part_area(design, parts, readers),
                    "query_error": max(query),
                    "prob_error": max(prob),
                }
            )
    return found


def width_error(config: Config, head: Head, width: int) -> tuple[float, float]:
    """Relative L2 error of q . k with queries of so many bits, and of p . v with probabilities of so many bits."""
    fitted = dataclasses.replace(config, query_bits=width)
    prepared = prepare(fitted, fitting(fitted, head))
    aligned = align(fitted, prepared.operands.query)
    exact = FP16.decode(prepared.operands.query)
    step = np.abs(exact).max(axis=1, keepdims=True) / np.maximum(1, np.abs(aligned.mantissa).max(axis=1, keepdims=True))
    scale = np.exp2(np.rint(np.log2(step)))
    scores = exact @ prepared.key.T
    query = np.linalg.norm((aligned.mantissa * scale) @ prepared.key.T - scores) / np.linalg.norm(scores)
    prob = np.exp2(scores - scores.max(axis=1, keepdims=True))
    one = float(1 << (width - 1))
    rounded = np.minimum(np.rint(prob * one), one - 1) / one
    outputs = [p @ prepared.value / p.sum(axis=1, keepdims=True) for p in (prob, rounded)]
    return float(query), float(np.linalg.norm(outputs[1] - outputs[0]) / np.linalg.norm(outputs[0]))
