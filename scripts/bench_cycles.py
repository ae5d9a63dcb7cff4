"""Cycles of the complete core on ten workloads: what golden predicts, and what the simulated hardware takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from golden.config import Config
from golden.head_cycles import head_cycles
from golden.layer import plan
from golden.traces import Head
from sim.head_words import planned_words
from sim.simulate import simulate
from sim.workload import random_head

MOST_OFF = 0.01
"""By which predicted cycles may be more or less than simulated ones."""
FEW_CYCLES = 8
"""By which those of short workloads may be: what the model rounds at their ends."""


def is_off(predicted: int, simulated: int) -> bool:
    """Whether a prediction is too far from the hardware, in either direction."""
    return abs(predicted - simulated) > max(FEW_CYCLES, MOST_OFF * simulated)


def workloads(config: Config, real: Head) -> dict[str, list[Head]]:
    """Heads by the name of their workload. A frame of `edge` * `edge` tokens fills a key tile."""
    edge = math.isqrt(config.tile)

    def heads(*shapes: tuple[tuple[int, int, int], int], scale: float = 1.0) -> list[Head]:
        return [random_head(config, grid, text, seed, scale) for seed, (grid, text) in enumerate(shapes)]

    return {
        "text": heads(((3, edge + 1, edge + 3), config.tile - 5)),
        "only text": heads(((0, 0, 0), 2 * config.tile + config.tile // 2)),
        "a single token": heads(((1, 1, 1), 0)),
        "many frames": heads(((12, edge - 1, edge), 0)),
        "odd frames": heads(((2, 2 * edge - 1, 2 * edge + 1), 3), scale=2.0),
        "concentrated": heads(((4, edge, 2 * edge), 0), scale=3.0),
        "equal scores": heads(((2, edge, 2 * edge), 5), scale=0.0),
        "two heads": heads(((4, edge, edge), 0), ((3, edge + 2, edge + 2), 5)),
        "five heads": heads(*[((2, edge, edge), 0)] * 5),
        "a real head": [real.cut((3, edge + edge // 2, edge + edge // 2))],
    }


def bench_cycles(
    config: Config, real: Head, progress: Callable[[str], object] = lambda _: None
) -> list[dict[str, Any]]:
    """A row for every workload; `off` says whether the prediction is: see `is_off`."""
    rows = []
    for name, heads in workloads(config, real).items():
        progress(f"cycles: {name}")
        plans = plan(config, heads)
        inputs = {"heads": planned_words(config, plans)}
        simulated = simulate("simpicker", config, testcase="heads", inputs=inputs)
        predicted = head_cycles(config, plans).total
        rows.append(
            {
                "workload": name,
                "tokens": sum(len(head.q) for head in heads),
                "predicted": predicted,
                "simulated": simulated["cycles"],
                "percent": 100 * (predicted / simulated["cycles"] - 1),
                "off": is_off(predicted, simulated["cycles"]),
                "simulated_cycles_per_second": simulated["simulated_cycles_per_second"],
            }
        )
    return rows
