"""Latencies of the components as golden's cycles count them, and what buffers hold; tests compare with the hardware."""

from __future__ import annotations

from golden.config import Config

ALIGN = 2
BUFFER = 2
"""From a pass of the sequencer to its words"""
SCORE, SOFTMAX, ACCUMULATE = 4, 7, 2
WEIGHTS = 2
"""From weights to the first pass over their tables: through a queue and into the tables"""
NORMALISE = 6
"""Beyond the cycles in which a row is taken"""
CORE = ("buffer", "key_reader", "score", "softmax", "weights", "value_reader", "accumulate", "normalise")
"""What a pass goes through, from the sequencer to its row's output"""

LISTS, QUERY_TILES = 2, 2
"""Lists of lane groups, and query tiles, that the core holds"""
HELD_ROWS = 4
"""Query rows that preparation holds while none is taken"""

SPANS = {"pairs": 2, "half_pairs": 2, "half_triples": 3, "half_quads": 4}
"""Operands that share a table, where it is more than one"""


def latencies(config: Config) -> dict[str, int]:
    """Cycles from a component's last word to what it becomes, or the first word of that."""
    chunks, slices = config.head_dim // config.prepare_channels, config.head_dim // config.output_lanes
    known = {
        "statistics": config.head_dim + 23,
        "quantise": 2 * chunks + config.digits + 11,
        "pool": 5,
        "means": 2,  # of a head: through a queue and into registers
        "align": ALIGN,
        "rank": sum_levels(config, config.head_dim) + 15,
        "tier_buffer": 3,
        "group": 2,
        "sequencer": 2,
        "buffer": BUFFER,
        "key_reader": reader_levels(config, config.head_dim),
        "score": SCORE,
        "softmax": SOFTMAX,
        "weights": WEIGHTS,
        "value_reader": reader_levels(config, config.lanes),
        "accumulate": ACCUMULATE,
        "normalise": slices + NORMALISE,
        "outputs": 2,  # the queue before they are restored
        "restore": slices + max(1, config.rotation_stages) + 9,
    }
    return known | {"core": sum(known[name] for name in CORE)}


def row_interval(config: Config) -> int:
    """Cycles of a query row, and of a row of the output: cut to slices, rotated, and put together again."""
    slices = config.head_dim // config.output_lanes
    return max(2 * slices, slices + max(1, config.rotation_stages))


def reader_levels(config: Config, operands: int) -> int:
    """Registers of a reader's adder tree over the tables of so many operands."""
    span = SPANS.get(config.table, 1)
    tables = -(-operands // span)
    return 1 + sum_levels(config, -(-tables // max(1, config.tree_fanin // span)))


def sum_levels(config: Config, addends: int) -> int:
    """Registers of an adder tree over so many addends."""
    levels = 0
    while addends > 1:
        addends, levels = -(-addends // config.tree_fanin), levels + 1
    return levels
