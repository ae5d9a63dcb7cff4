"""What golden's formulas know of the hardware: latencies and places of every preset are those of the components."""

from __future__ import annotations

import dataclasses

import pytest

from golden.config import TABLE_STYLES, Config
from golden.latencies import CORE, LISTS, QUERY_TILES, latencies, row_interval
from golden.parameters import FULL_ENGINES
from golden.presets import PRESETS
from rtl import estimate, layouts
from rtl.accumulate import Accumulate
from rtl.align import Align
from rtl.centre import Centre
from rtl.group import Group
from rtl.match import Match
from rtl.multiplier import KeyMultiplier, ValueMultiplier
from rtl.normalise import Normalise
from rtl.pool import Pool
from rtl.prepare_query import PrepareQuery
from rtl.quantise import Quantise
from rtl.restore import Restore
from rtl.score import Score
from rtl.sequencer import GROUP_SLOTS, Sequencer
from rtl.softmax import Softmax
from rtl.statistics import Statistics
from rtl.tier_buffer import TierBuffer
from rtl.token_buffer import KeyBuffer

QUEUES = {"means", "released", "work_queue", "weights", "outputs"}
"""Not of a component, but of how they are connected: those that tests/cosim predicts to the cycle tell."""


def hardware(config: Config) -> dict[str, int]:
    """What the components say of themselves."""
    return {
        "statistics": Statistics(config).latency,
        "centre": Centre(config).latency,
        "quantise": Quantise(config, config.prepare_channels).latency,
        "pool": Pool.latency,
        "prepare_query": PrepareQuery(config).latency,
        "align": Align.latency,
        "rank": estimate.latency(config),
        "tier_buffer": TierBuffer.latency,
        "group": Group.latency,
        "sequencer": Sequencer.latency,
        "match_interval": Match(config).chunks,
        "buffer": KeyBuffer.latency,
        "key_multiplier": KeyMultiplier(config).latency,
        "score": Score.latency,
        "softmax": Softmax.latency,
        "value_multiplier": ValueMultiplier(config).latency,
        "accumulate": Accumulate.latency,
        "normalise": Normalise(config).latency,
        "restore": Restore(config).latency,
    }


@pytest.mark.parametrize("engine", FULL_ENGINES)
@pytest.mark.parametrize("table", TABLE_STYLES)
@pytest.mark.parametrize("name", PRESETS)
def test_latencies_are_those_of_the_hardware(name: str, table: str, engine: str) -> None:
    config = dataclasses.replace(PRESETS[name], table=table, full_engine=engine)
    known = latencies(config)
    assert {name: known[name] for name in known.keys() - QUEUES - {"core"}} == hardware(config)
    assert known["core"] == sum(known[name] for name in CORE)


@pytest.mark.parametrize("name", PRESETS)
def test_rows_take_as_long_as_in_the_hardware(name: str) -> None:
    config = PRESETS[name]
    for component in (PrepareQuery(config), Restore(config)):
        assert row_interval(config) == component.interval


def test_as_much_is_held_as_in_the_hardware() -> None:
    assert (GROUP_SLOTS, layouts.QUERY_SLOTS) == (LISTS, QUERY_TILES)
