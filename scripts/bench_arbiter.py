"""Throughput of the bank arbiter, by access pattern, and that of a crossbar without its queues."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.sim import Simulator

from golden.config import Config
from rtl.arbiter import BankPort
from sim.simulate import simulate

PATTERN = "words_per_lane_cycle_"
MEMORYLESS = "random, memoryless"
WIDE = Config(head_dim=16, query_rows=16, tile=1024, lanes=16, banks=16)
"""Narrow words for small models, and so many of them that equal ones hardly meet."""
QUEUES = 2
"""The fewest queues of a lane that take random requests to twice as many banks as lanes at 0.95 words per cycle."""
CONFIGS = tuple(
    dataclasses.replace(WIDE, banks=banks, request_window=window) for banks in (16, 32) for window in (1, QUEUES)
)


def bench_arbiter(
    progress: Callable[[str], object] = lambda _: None, configs: Iterable[Config] = CONFIGS
) -> list[dict[str, Any]]:
    """Words per lane and cycle: a row for every configuration and pattern, and for every memoryless crossbar.

    The latter has no queues, and `request_window` 0.
    """
    rows, seen = [], set()
    for config in configs:
        if config.banks not in seen:
            seen.add(config.banks)
            progress(f"{config.banks} banks, memoryless")
            crossbar = {"lanes": config.lanes, "banks": config.banks, "request_depth": 0, "request_window": 0}
            rows.append({**crossbar, "pattern": MEMORYLESS, "words_per_lane_cycle": memoryless(config)})
        progress(f"{config.banks} banks, window {config.request_window}")
        figures = simulate("arbiter", config)
        shape = {key: getattr(config, key) for key in ("lanes", "banks", "request_depth", "request_window")}
        rows += [
            {**shape, "pattern": key.removeprefix(PATTERN), "words_per_lane_cycle": value}
            for key, value in figures.items()
            if key.startswith(PATTERN)
        ]
    return rows


def memoryless(config: Config, cycles: int = 500, seed: int = 1) -> float:
    """Words per lane and cycle of bare bank ports: in every cycle all lanes ask anew, whether they were served or not.

    Amaranth simulates the RTL. No two lanes ask for the same word: expected are 1 - (1 - 1 / banks)^lanes words from
    each bank.
    """
    ports: list[Any] = [BankPort(config) for _ in range(config.banks)]
    m = Module()
    m.submodules += ports
    rng = np.random.default_rng(seed)
    served = 0

    async def requests(ctx: Any) -> None:
        nonlocal served
        for port in ports:
            for lane in range(config.lanes):
                ctx.set(port.addresses[lane].row, lane)
        for banks in rng.integers(0, config.banks, (cycles, config.lanes)):
            for n, port in enumerate(ports):
                ctx.set(port.asking, sum(1 << int(lane) for lane in np.flatnonzero(banks == n)))
            served += sum(ctx.get(port.granted).bit_count() for port in ports)
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(requests)
    simulator.run()
    return served / cycles / config.lanes
