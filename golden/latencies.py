"""Latencies of the components as golden's cycles count them, and what buffers hold; tests compare with the hardware."""

from __future__ import annotations

import dataclasses

from golden.config import Config

ALIGN = 2
BUFFER = 2
"""From a pass of the sequencer to its words"""
SCORE, SOFTMAX, ACCUMULATE = 4, 7, 2
WEIGHTS = 2
"""From weights to the first pass over their tables: through a queue and into the tables"""
NORMALISE = 6
"""Beyond the cycles in which a row is taken"""
CORE = ("buffer", "key_multiplier", "score", "softmax", "weights", "value_multiplier", "accumulate", "normalise")
"""What a pass goes through, from the sequencer to its row's output"""

ROTATION_STAGES = 2
"""Of the rotation of keys and values, that are done per cycle"""

MEANS = 4
"""Channels whose means are found per cycle"""

MATCH_CHANNELS = 16
"""Channels of a row that are compared per cycle"""

LISTS, QUERY_TILES = 2, 3
"""Lists of lane groups, and query tiles, that the core holds"""

SPANS = {"pairs": 2, "half_pairs": 2, "half_triples": 3, "half_quads": 4}
"""Operands that share a table, where it is more than one"""

ENCODING = 4
"""Slices of a row that are under way where they become floating-point numbers"""

MULTIPLIERS = 2
"""Registers before and behind the multipliers of FULL, in front of their adder tree"""


def latencies(config: Config) -> dict[str, int]:
    """Cycles from a component's last word to what it becomes, or the first word of that."""
    chunks, slices = config.head_dim // config.prepare_channels, config.output_slices
    known = {
        "statistics": config.head_dim // MEANS + 23,
        "centre": 2 + rotation_latency(config) + 1,
        "quantise": 2 * chunks + config.digits + 11,
        "pool": 5,
        "prepare_query": slices + max(1, config.rotation_stages) + 6,
        "match_interval": config.head_dim // MATCH_CHANNELS,
        "means": 2,  # of a head: through a queue and into registers
        "released": 2,  # until the work queue sees a place that is free
        "work_queue": 2,
        "align": ALIGN,
        "rank": sum_levels(config, config.head_dim) + 15,
        "tier_buffer": 3,
        "group": 2,
        "sequencer": 2,
        "buffer": BUFFER,
        "key_multiplier": multiplier_latency(config, config.head_dim),
        "score": SCORE,
        "softmax": SOFTMAX,
        "weights": WEIGHTS,
        "value_multiplier": multiplier_latency(config, config.lanes),
        "accumulate": ACCUMULATE,
        "normalise": slices + NORMALISE,
        "outputs": 2,  # the queue before they are restored
        "restore": slices + max(1, config.rotation_stages) + 9,
    }
    return known | {"core": sum(known[name] for name in CORE)}


def head_start(config: Config) -> int:
    """Cycles, about, by which query rows that wait in preparation leave earlier than one every `row_interval`."""
    slices, rotation = config.output_slices, max(1, config.rotation_stages)
    if rotation > slices:
        return 2 * (rotation - 1)
    return (4 if slices <= ENCODING else 3) * slices + 1 - rotation


def row_interval(config: Config) -> int:
    """Cycles of a query row, and of a row of the output: cut to slices, rotated, and put together again."""
    slices = config.output_slices
    return max(2 * slices, slices + max(1, config.rotation_stages) - 1)


def rotation_latency(config: Config) -> int:
    """Of a key or value: units in series take a row every `prepare_interval` cycles, with two stages a cycle each."""
    stages, interval = config.rotation_stages, config.prepare_interval
    units = max(1, -(-stages // (ROTATION_STAGES * interval)))
    own = [stages * (n + 1) // units - stages * n // units for n in range(units)]
    return sum(max(1, -(-n // max(1, -(-n // interval)))) for n in own)


def multiplier_latency(config: Config, operands: int) -> int:
    """Of a multiplier: that of its tables, unless FULL has multipliers, which take longer."""
    if config.full_engine == "tables":
        return reader_levels(config, operands)
    return MULTIPLIERS + reader_levels(dataclasses.replace(config, table="multiply"), operands)


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
