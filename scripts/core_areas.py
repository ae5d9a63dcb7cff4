"""Areas of the complete core, of what it is without some of its parts, and of a dense FP16 core with as many lanes.

Measured: all modules of the complete core, with preparation, matching, speculation, grouping and counters; and the
parts of the floating-point designs of scripts.designs. So both come from one flow: see scripts.module_areas.

Assumed: a bit of a memory takes a tenth of a flip-flop, as in compiled SRAM. The dense core is spared what we cannot
measure: it has multiply-adds without registers between them, and of our core the parts in DENSE, but no arbiters, no
scores, no alignment, no accumulator; its memories hold FP16 operands and FP32 sums.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rtl
from golden.config import Config
from rtl.components import COMPONENTS
from rtl.emit import to_rtlil
from rtl.files import write_text
from scripts.cell_library import Library
from scripts.design_costs import TOP as PART
from scripts.design_costs import Cost, described
from scripts.designs import FLOAT_BITS, floating
from scripts.module_areas import Area, module_areas
from scripts.results import folder
from scripts.styles import part_area

MEMORY_BIT = 0.1
"""Area of a bit of a memory over that of the smallest flip-flop."""
SUM_BITS = 32
"""Bits of a sum of the dense core."""
BASELINES = ("fp16_mac", "fp16_fused")
"""The dense cores: an FP16 multiply-add for each product, or fused FP16 dot products."""

SPECULATION = ("speculate", "tier_buffer", "key_pool", "key_pool")
"""Means of keys are found for cells and for tiles."""
GROUPING = ("group",)
TOP = "simpicker"
DENSE = ("query_buffer", "sequencer", "softmax", "normalise")

Modules = Mapping[str, Area]
"""By name; parts of the floating-point designs are `<baseline>.<part>`."""


def measured(name: str, config: Config, library: Library, told: Callable[[str], None]) -> dict[str, Any]:
    """All areas, as measured now or, if nothing has changed, before: build/<preset>/areas_<configuration>.json."""
    path, wanted = folder(name) / f"areas_{config.hash}.json", key(config, library)
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["key"] == wanted:
            return found
    begun = time.monotonic()
    told(f"mapping the complete core to {library.name}, module by module")
    modules = module_areas(to_rtlil(COMPONENTS[TOP](config), TOP), TOP, library)
    for baseline in BASELINES:
        for part in floating(baseline).parts:
            told(f"mapping {baseline}, {part.name} to {library.name}")
            modules[f"{baseline}.{part.name}"] = module_areas(described(part, "save"), PART, library)[PART]
    found = {"key": wanted, "library": library.name, "seconds": time.monotonic() - begun, "modules": modules}
    write_text(path, json.dumps(found, indent=2) + "\n")
    return found


def stage_areas(config: Config, library: Library, plain: Modules, modules: Modules, baseline: str) -> dict[str, float]:
    """um^2 of the core at each of scripts.stages.STAGES; `plain` are the modules of one that computes all rows."""
    tiers = um2(library, plain, (TOP,)) - um2(library, plain, GROUPING)
    complete = um2(library, modules, (TOP,))
    return {
        "dense": dense(config, library, modules, baseline),
        "tables": tiers - um2(library, plain, SPECULATION),
        "tiers": tiers,
        "reuse": complete - um2(library, modules, GROUPING),
        "grouping": complete,
        "losses": complete,
    }


def share(library: Library, modules: Modules, complete: float, cores: int) -> float:
    """um^2 of each of several cores behind one preparation, where a single one is `complete`."""
    return um2(library, modules, ("worker",)) * (cores - 1) / cores + complete / cores


def um2(library: Library, modules: Modules, names: Iterable[str]) -> float:
    """um^2 of some modules, memories included."""
    return sum(modules[name].um2 + memory(library, modules[name].memory_bits) for name in names)


def memory(library: Library, bits: int) -> float:
    """um^2 of so many bits of memories."""
    if library.flip_flop is None:
        raise ValueError(f"{library.path}: the library {library.name!r} has no flip-flop")
    return bits * MEMORY_BIT * library.flip_flop.area


def dense(config: Config, library: Library, modules: Modules, baseline: str) -> float:
    """um^2 of the dense core: both arrays of multiply-adds, what it shares with ours, and its memories."""
    design = floating(baseline)
    parts = {part.name: Cost(modules[f"{baseline}.{part.name}"].um2, 0.0) for part in design.parts}
    arrays = sum(part_area(design, parts, readers) for readers in (config.lanes, config.head_dim))
    shared = sum(modules[name].um2 for name in DENSE)
    return config.lanes * config.head_dim * arrays + shared + memory(library, dense_bits(config))


def dense_bits(config: Config) -> int:
    """Bits of its memories: two query tiles, tile_slots tiles of keys and of values, and a query tile's sums."""
    operands = 2 * config.query_rows + 2 * config.tile_slots * config.tile
    return config.head_dim * (operands * FLOAT_BITS + config.query_rows * SUM_BITS)


def key(config: Config, library: Library) -> str:
    """All that the outcome depends on."""
    flows = [Path(__file__).with_name(f"{name}.py") for name in ("cells", "module_areas", "yosys")]
    sources = [*sorted(Path(rtl.__path__[0]).glob("*.py")), *flows, library.path]
    told = (config.hash, version("pyosys"), *(path.read_text(encoding="utf-8") for path in sources))
    return hashlib.sha256(repr(told).encode()).hexdigest()[:24]
