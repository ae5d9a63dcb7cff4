"""Named configurations, each with its purpose."""

from __future__ import annotations

from golden.config import Config

PRESETS: dict[str, Config] = {
    # The smallest that still exercises everything: three digits, so that FULL differs from LUT8, and several groups a tile.
    "tiny": Config(head_dim=16, query_rows=8, tile=16, lanes=4, banks=4, tile_slots=3, digits=3, max_tokens=4096),
    # Half a Lattice ECP5-85F (84k LUT4, 208 block RAMs, 156 DSPs); pair tables fit a LUT4 fabric best.
    "ecp5": Config(head_dim=64, query_rows=32, tile=64, lanes=2, banks=2, table="pairs"),
    # A mid-size AMD UltraScale+ (such as the KU5P: 217k LUT6, 1824 DSPs); BF16 in, as recent models have it.
    "amd": Config(head_dim=64, query_rows=64, tile=64, lanes=8, banks=8, table="pairs", float_format="bf16"),
    # Sixteen readers a table, from where tables pay on gates; the default of every command.
    "asic": Config(head_dim=64, query_rows=64, tile=64, lanes=16, banks=16),
    # The size of the paper's accelerator (DAC 2025): head dimension 128 and 8192 lookups per cycle, one processing core of it.
    "paper": Config(head_dim=128, query_rows=64, tile=64, lanes=32, banks=32, tile_slots=4),
}
DEFAULT_PRESET = "asic"


def preset(name: str) -> Config:
    """The named configuration; an unknown name raises ValueError listing the known ones."""
    if name not in PRESETS:
        raise ValueError(f"preset {name!r}: must be one of {', '.join(PRESETS)}")
    return PRESETS[name]
