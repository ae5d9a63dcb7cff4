"""The core in Verilator against the predicted cycles, and its counters: see golden.cycles and golden.counters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from golden import cycles as predicted
from golden.attention import attention
from golden.config import TABLE_STYLES, Config, Tier
from golden.counters import expected
from golden.cycles import cycles, multiplier_latency, tree_levels
from golden.group import in_columns
from golden.parameters import FULL_ENGINES
from golden.prepare import prepare
from golden.presets import PRESETS, preset
from golden.schedule import LaneGroup, Packing, in_order, schedule
from golden.traces import load
from rtl import layouts
from rtl.accumulate import Accumulate
from rtl.align import Align
from rtl.counters import CYCLES
from rtl.normalise import NormaliseLane
from rtl.products import Products
from rtl.reader import Reader
from rtl.score import Score
from rtl.sequencer import GROUP_SLOTS
from rtl.softmax import Softmax
from rtl.table_styles import STYLES
from rtl.token_buffer import KeyBuffer
from sim.simulate import simulate
from sim.workload import Workload, random_head, small_workload, workload

TINY = preset("tiny")
SAMPLE = Path(__file__).parents[2] / "sample" / "street.npz"
ALL = tuple(dataclasses.asdict(expected(TINY, small_workload(TINY, 0).schedule)))


def in_tiles(
    tokens: int,
    heights: int | tuple[int, int] = TINY.query_rows,
    widths: int | tuple[int, int] = TINY.tile,
    tiers: Tier | str = Tier.LUT4,
    masked: float = 0,
    pack: Packing = in_order,
) -> Workload:
    """A random head in tiles of given sizes, or random ones of a range; `tiers` for all, or random by "tile", "key"."""
    rng = np.random.default_rng(tokens)
    prepared = prepare(TINY, random_head(TINY, (1, 1, tokens)))

    def starts(sizes: int | tuple[int, int]) -> NDArray[np.int64]:
        low, high = (sizes, sizes) if isinstance(sizes, int) else sizes
        ends = np.cumsum(rng.integers(low, high, tokens, endpoint=True))
        return np.concatenate([[0], ends[ends < tokens], [tokens]])

    query, key = starts(heights), starts(widths)
    shape = len(query) - 1, tokens if tiers == "key" else len(key) - 1
    chosen = np.full(shape, tiers) if isinstance(tiers, Tier) else rng.integers(0, len(Tier), shape)
    mask = rng.random(tokens) < masked
    made = schedule(TINY, query, key, chosen.astype(np.int8), mask, pack=pack)
    return Workload(prepared.operands, made, attention(TINY, prepared.operands, made))


def scattered(
    config: Config, tiers: NDArray[np.int8], hidden: NDArray[np.bool_] | None = None
) -> tuple[LaneGroup, ...]:
    """Tokens of a tile in random order, so that lanes ask the same banks."""
    order = np.random.default_rng(len(tiers)).permutation(len(tiers))
    groups = in_order(config, tiers[order], None if hidden is None else hidden[order])
    return tuple(dataclasses.replace(group, tokens=order[group.tokens]) for group in groups)


def sample(number: int) -> Workload:
    """A real head, cut to what the tiny core holds."""
    return workload(TINY, load(SAMPLE)[number].cut((2, 12, 12), TINY.head_dim))


EXACT: dict[str, Callable[[], Workload]] = {
    "full_tiles_lut4": lambda: in_tiles(96),
    "full_tiles_lut8": lambda: in_tiles(96, tiers=Tier.LUT8),
    "full_tiles_full": lambda: in_tiles(96, tiers=Tier.FULL),
    "a_single_token": lambda: in_tiles(1),
    "a_single_key_tile": lambda: in_tiles(16),
    "text": lambda: workload(TINY, random_head(TINY, (0, 0, 0), text_tokens=40), Tier.LUT8),
    "query_tiles_of_one_row": lambda: in_tiles(64, heights=1),
    "query_tiles_of_two_rows": lambda: in_tiles(64, heights=2, tiers=Tier.LUT8),
    "query_tiles_of_three_rows": lambda: in_tiles(49, heights=3),
    "a_last_tile_of_one_token": lambda: in_tiles(49),
    "a_last_tile_of_one_token_lut8": lambda: in_tiles(49, tiers=Tier.LUT8),
    "all_masked": lambda: in_tiles(56, masked=1, tiers=Tier.LUT8),
    "masked": lambda: in_tiles(56, masked=0.3, tiers="key", pack=in_columns),
}
CLOSE: dict[str, Callable[[], Workload]] = {
    "small_key_tiles_of_unlike_tiers": lambda: in_tiles(64, widths=(1, 3), tiers="tile"),
    "tiles_of_any_size": lambda: in_tiles(128, (1, 8), (1, 16), tiers="key", pack=in_columns),
    "tiles_of_unlike_tiers": lambda: in_tiles(128, (1, 8), (1, 16), tiers="tile"),
    "colliding_banks": lambda: small_workload(TINY, 3),
    "tokens_in_random_order": lambda: in_tiles(96, tiers="key", pack=scattered),
    "sample_0": lambda: sample(0),
    "sample_1": lambda: sample(1),
}


def run(work: Workload, stalls: float = 0.0, config: Config = TINY) -> dict[str, Any]:
    """Figures of a simulation; the bench compares output and counters."""
    return simulate("core", config, inputs={"workload": work, "stalls": stalls})


@pytest.mark.parametrize("case", EXACT)
def test_cycles_are_predicted_exactly(case: str) -> None:
    work = EXACT[case]()
    assert cycles(TINY, work.schedule).total == run(work)["cycles"]


@pytest.mark.parametrize("case", ["full_tiles_full", "query_tiles_of_three_rows"])
def test_cycles_with_multipliers_are_predicted_exactly(case: str) -> None:
    config, work = dataclasses.replace(TINY, full_engine="multipliers"), EXACT[case]()
    assert cycles(config, work.schedule).total == run(work, config=config)["cycles"]


@pytest.mark.parametrize("case", CLOSE)
def test_cycles_are_predicted_within_half_a_percent(case: str) -> None:
    work = CLOSE[case]()
    found = run(work)["cycles"]
    assert abs(cycles(TINY, work.schedule).total - found) <= 0.005 * found


@pytest.mark.parametrize("case", ["full_tiles_full", "query_tiles_of_one_row", "query_tiles_of_three_rows", "masked"])
def test_counters_tell_where_the_cycles_went(case: str) -> None:
    work = EXACT[case]()
    counted, found = run(work)["counters"], dataclasses.asdict(cycles(TINY, work.schedule))
    causes = [name for name in CYCLES if name in found]
    assert {name: counted[name] for name in causes} == {name: found[name] for name in causes}


@pytest.mark.parametrize("engine", FULL_ENGINES)
def test_small_variants_are_predicted(engine: str) -> None:
    small = {"digits": 2, "table": "odd", "tree_fanin": 2, "tile_slots": 2, "request_depth": 2}
    config = dataclasses.replace(TINY, full_engine=engine, **small)
    work = small_workload(config, seed=6)
    found = run(work, config=config)["cycles"]
    assert abs(cycles(config, work.schedule).total - found) <= 0.01 * found


def test_counters_of_work_do_not_depend_on_stalls() -> None:
    work = CLOSE["tokens_in_random_order"]()
    smooth, stalled = (run(work, stalls)["counters"] for stalls in (0.0, 0.3))
    assert {name: smooth[name] for name in ALL} == {name: stalled[name] for name in ALL}
    assert smooth["waits_bank"] > 0.2 * smooth["busy"]
    waits = [name for name in CYCLES if name not in ("busy", "waits_bank")]
    assert sum(stalled[name] for name in waits) > sum(smooth[name] for name in waits)


@pytest.mark.parametrize("table", TABLE_STYLES)
@pytest.mark.parametrize("name", PRESETS)
def test_adder_trees_are_as_deep_as_those_of_the_hardware(name: str, table: str) -> None:
    config = dataclasses.replace(PRESETS[name], table=table)
    levels = [tree_levels(config, operands) for operands in (config.head_dim, config.lanes)]
    assert levels == [Reader.stages(STYLES[table], n, config.tree_fanin) for n in (config.head_dim, config.lanes)]


@pytest.mark.parametrize("name", PRESETS)
def test_multipliers_take_as_long_as_those_of_the_hardware(name: str) -> None:
    config = dataclasses.replace(PRESETS[name], full_engine="multipliers")
    latencies = [multiplier_latency(config, operands) for operands in (config.head_dim, config.lanes)]
    assert latencies == [Products.stages(operands, config.tree_fanin) for operands in (config.head_dim, config.lanes)]


def test_latencies_are_those_of_the_hardware() -> None:
    assert Align.latency == predicted.ALIGN
    assert KeyBuffer.latency == predicted.BUFFER
    assert (Score.latency, Softmax.latency) == (predicted.SCORE, predicted.SOFTMAX)
    assert Accumulate.latency == predicted.ACCUMULATE
    assert NormaliseLane.latency + 1 == predicted.NORMALISE
    assert (GROUP_SLOTS, layouts.QUERY_SLOTS) == (predicted.LISTS, predicted.QUERY_TILES)
