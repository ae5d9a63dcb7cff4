"""Named configurations, each with its purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from golden.config import Config

FABRIC: dict[str, Any] = {"adder": "carry", "tree_fanin": 8}
"""What suits FPGAs; the defaults of Config suit gates. By `make bench`, a half table of pairs takes the fewest LUT4s,
one of triples the fewest LUT6s."""

PRESETS: dict[str, Config] = {
    # The smallest that still exercises everything: three digits, so that FULL differs from LUT8; several groups a tile.
    "tiny": Config(
        head_dim=16,
        query_rows=8,
        tile=16,
        lanes=4,
        banks=4,
        tile_slots=3,
        digits=3,
        piece=4,
        cell=2,
        query_bits=14,
        prob_bits=14,
        max_tokens=4096,
    ),
    # A Lattice ECP5-85F (84k LUT4, 208 block RAMs, 156 DSPs) and Wan 1.3B (32,760 tokens).
    "ecp5": Config(
        query_rows=16, lanes=2, banks=2, query_bits=12, prob_bits=15, max_tokens=32768, table="half_pairs", **FABRIC
    ),
    # A mid-size AMD UltraScale+ (such as the KU5P: 217k LUT6, 1824 DSPs); BF16 in, as recent models have it.
    "amd": Config(
        head_dim=64, query_rows=64, tile=64, lanes=8, banks=8, float_format="bf16", table="half_triples", **FABRIC
    ),
    # The default. Sixteen readers a table, from where tables pay on gates; three digits: FULL is as exact as FP16.
    "asic": Config(head_dim=64, query_rows=64, tile=64, lanes=16, banks=16, digits=3),
    # One processing core of the size of the paper's accelerator (DAC 2025): head dimension 128, 8192 lookups a cycle.
    "paper": Config(head_dim=128, query_rows=64, tile=64, lanes=32, banks=32, tile_slots=4, piece=32),
}
DEFAULT_PRESET = "asic"


def preset(name: str) -> Config:
    """The named configuration, or that of a JSON file; an unknown name raises ValueError listing the known ones.

    A file has all fields of a Config, as `Config.to_json` writes them beside generated Verilog.
    """
    if name.endswith(".json"):
        try:
            return Config.from_json(Path(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"preset {name!r}: no such file") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if name not in PRESETS:
        raise ValueError(f"preset {name!r}: must be one of {', '.join(PRESETS)}, or a configuration file (.json)")
    return PRESETS[name]
