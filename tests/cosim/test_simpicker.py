"""The complete core in Verilator against golden: raw numbers in, attention out, all that it writes compared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from golden.config import Config
from golden.head_cycles import head_cycles
from golden.layer import plan
from golden.presets import preset
from golden.traces import Head, load
from scripts.bench_cycles import is_off, workloads
from scripts.demo import SAMPLE, fitting
from sim.head_words import HeadWords, planned_words
from sim.simulate import BenchFailed, simulate
from sim.workload import moving_head, random_head

TINY = preset("tiny")


def fed(config: Config, *heads: Head) -> list[HeadWords]:
    """The words of the heads of a layer."""
    return planned_words(config, plan(config, heads))


@pytest.mark.parametrize(
    "component", ["places", "prepare", "speculate", "tier_buffer", "worker", "work_queue", "simpicker"]
)
def test_bench(component: str) -> None:
    figures = simulate(component, TINY, seed=3)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] > 300


def test_work_queue_feeds_three_cores() -> None:
    figures = simulate("work_queue", dataclasses.replace(TINY, cores=3), seed=3)
    assert figures["mismatches"] == 0
    assert len(figures["tiles_by_core"]) == 3


VARIANTS = {
    "bf16": {"float_format": "bf16"},
    "multipliers": {"full_engine": "multipliers"},
    "two_digits_not_rotated": {"digits": 2, "rotate": False},
    "odd_head_dim": {"head_dim": 48, "piece": 8, "cell": 4},
    "wide": {"query_rows": 16, "lanes": 8, "banks": 8, "piece": 16, "cell": 8, "input_bits": 18},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_with_stalls(variant: str) -> None:
    config = dataclasses.replace(TINY, **VARIANTS[variant])
    shapes = [((3, 5, 7), 11), ((2, 4, 4), 0)]
    heads = [random_head(config, *each, seed=n, scale=1.0 + n) for n, each in enumerate(shapes)]
    figures = simulate("simpicker", config, testcase="heads", inputs={"heads": fed(config, *heads), "stalls": 0.2})
    assert figures["mismatches"] == 0
    assert figures["words_compared"] > 300


TWO = dataclasses.replace(TINY, cores=2)


@pytest.mark.parametrize(("cores", "stalls"), [(1, 0.0), (2, 0.2)])
def test_rows_are_reused(cores: int, stalls: float) -> None:
    """Rows near to earlier ones are not computed, and cores share the others of some heads, back to back."""
    config = dataclasses.replace(TINY, cores=cores, reuse_distance=0.3)
    shapes = [((4, 3, 8), 5), ((3, 5, 7), 11), ((6, 2, 4), 0), ((5, 1, 1), 2)]
    heads = [moving_head(config, *each, 0.4, seed=n) for n, each in enumerate(shapes)]
    plans = plan(config, heads)
    assert 0.2 < np.mean([made.products_removed for made in plans]) < 0.7
    given = planned_words(config, plans)
    figures = simulate("simpicker", config, testcase="heads", inputs={"heads": given, "stalls": stalls})
    assert figures["mismatches"] == 0
    assert figures["counters"]["rows"] == sum(len(made.rows.order) for made in plans)
    assert cores * min(figures["rows_by_core"]) > 0.7 * sum(figures["rows_by_core"])
    if cores == 1:
        assert not is_off(head_cycles(config, plans).total, figures["cycles"])


def test_two_cores_take_little_more_than_half() -> None:
    head = random_head(TINY, (4, 8, 8), seed=5, scale=3.0)
    one, two = (
        simulate("simpicker", config, testcase="heads", inputs={"heads": fed(config, head)}) for config in (TINY, TWO)
    )
    assert two["mismatches"] == 0
    assert one["cycles"] / two["cycles"] > 1.85
    assert not is_off(head_cycles(TWO, plan(TWO, [head])).total, two["cycles"])


def test_real_heads_follow_each_other_without_waiting_for_keys_or_queries() -> None:
    heads = [head.cut((3, 12, 12), TINY.head_dim) for head in load(SAMPLE)[:2]]
    alone = [simulate("simpicker", TINY, testcase="heads", inputs={"heads": fed(TINY, head)}) for head in heads]
    both = simulate("simpicker", TINY, testcase="heads", inputs={"heads": [*fed(TINY, heads[0]), *fed(TINY, heads[1])]})
    # The second head is measured and prepared while the first is computed.
    prepared = alone[1]["prepared_cycle"]
    assert both["cycles"] < sum(figures["cycles"] for figures in alone) - prepared / 2


WORKLOADS = workloads(TINY, fitting(TINY, load(SAMPLE)[0]))


@pytest.mark.parametrize("name", WORKLOADS)
def test_cycles_are_predicted(name: str) -> None:
    plans = plan(TINY, WORKLOADS[name])
    figures = simulate("simpicker", TINY, testcase="heads", inputs={"heads": planned_words(TINY, plans)})
    assert not is_off(head_cycles(TINY, plans).total, figures["cycles"])


EXTREMES = {
    "equal_queries": lambda head: dataclasses.replace(head, q=head.q * 0),
    "saturated_scores": lambda head: dataclasses.replace(head, q=head.q * 3000, k=head.k * 300),
    "equal_keys": lambda head: dataclasses.replace(head, k=head.k * 0 + 3),
    "equal_values": lambda head: dataclasses.replace(head, v=head.v * 0 - 1),
    "huge_values": lambda head: dataclasses.replace(head, v=head.v * np.float32(4000)),
    "tiny_values": lambda head: dataclasses.replace(head, v=head.v * np.float32(2.0**-22)),
    "one_frame": lambda head: head.cut((1, 4, 7)),
}


@pytest.mark.parametrize("case", EXTREMES)
def test_extreme_heads(case: str) -> None:
    head = EXTREMES[case](random_head(TINY, (2, 4, 7), seed=1))
    figures = simulate("simpicker", TINY, testcase="heads", inputs={"heads": fed(TINY, head)})
    assert figures["mismatches"] == 0


def test_a_query_that_is_not_finite_gives_nan_and_disturbs_nobody() -> None:
    head = random_head(TINY, (2, 4, 7), seed=2)
    head.q[9, 4] = np.nan
    head.q[30, 0] = -np.inf
    assert simulate("simpicker", TINY, testcase="heads", inputs={"heads": fed(TINY, head)})["mismatches"] == 0


def test_a_single_wrong_bit_is_found() -> None:
    (words,) = fed(TINY, random_head(TINY, (2, 4, 7)))
    words.output[17] ^= 1 << 5
    with pytest.raises(BenchFailed, match=r"output__0: cycle \d+, head 0, row 17: 1 fields differ: \[0\] ="):
        simulate("simpicker", TINY, testcase="heads", inputs={"heads": [words]})
