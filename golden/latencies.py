"""Latencies of the components, as golden's cycles count them; a test compares each with the hardware's own."""

from __future__ import annotations

from golden.config import Config

SPANS = {"pairs": 2, "half_pairs": 2, "half_triples": 3, "half_quads": 4}
"""Operands that share a table, where it is more than one."""


def reader_levels(config: Config, operands: int) -> int:
    """Cycles of a multiplier: the registers of an adder tree over the tables of so many operands."""
    span = SPANS.get(config.table, 1)
    left, levels = -(-operands // span), 1
    left = -(-left // max(1, config.tree_fanin // span))
    while left > 1:
        left, levels = -(-left // config.tree_fanin), levels + 1
    return levels


def sum_levels(config: Config, addends: int) -> int:
    """Registers of an adder tree over so many products."""
    levels = 0
    while addends > 1:
        addends, levels = -(-addends // config.tree_fanin), levels + 1
    return levels


def latencies(config: Config) -> dict[str, int]:
    """Cycles from a word to what it becomes, by component; of what takes several, from the last one to the first."""
    chunks, slices = config.head_dim // config.prepare_channels, config.head_dim // config.output_lanes
    rotation = max(1, config.rotation_stages)
    return {
        "align": 2,
        "buffer": 2,
        "key_reader": reader_levels(config, config.head_dim),
        "score": 4,
        "softmax": 7,
        "weights": 2,  # through their queue and into the tables
        "value_reader": reader_levels(config, config.lanes),
        "accumulate": 2,
        "normalise": slices + 6,
        "statistics": config.head_dim + 23,
        "quantise": 2 * chunks + config.digits + 11,
        "pool": 5,
        "rank": sum_levels(config, config.head_dim) + 15,
        "tier_buffer": 2,
        "group": 2,
        "sequencer": 2,
        "restore": slices + rotation + 9,
    }


def row_interval(config: Config) -> int:
    """Cycles of a query row, and of a row of the output: cut to slices, rotated and put together again."""
    slices = config.head_dim // config.output_lanes
    return max(2 * slices, slices + max(1, config.rotation_stages))
