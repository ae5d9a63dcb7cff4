from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.arbiter import Grant, arbitrate, place
from golden.config import Config

CONFIG = Config(head_dim=16, query_rows=8, tile=16, lanes=4, banks=4, piece=8)
ODD = dataclasses.replace(CONFIG, tile=15, lanes=3, banks=5, piece=5, cell=1)
CONFIGS = [
    CONFIG,
    dataclasses.replace(CONFIG, request_window=2),
    dataclasses.replace(CONFIG, request_window=4, request_depth=2),
    dataclasses.replace(ODD, request_depth=1),
    dataclasses.replace(ODD, request_window=2),
    dataclasses.replace(ODD, lanes=5, banks=3, request_window=2, request_depth=3),
    dataclasses.replace(CONFIG, lanes=2, banks=1),
]
ONE_QUEUE = [config for config in CONFIGS if config.request_window == 1 and config.request_depth > 1]


@st.composite
def tasks(draw: st.DrawFn, configs: list[Config]) -> tuple[Config, list[list[int]]]:
    """A configuration and what its lanes ask for."""
    config = draw(st.sampled_from(configs))
    queue = st.lists(st.integers(0, config.tile - 1), max_size=12)
    return config, draw(st.lists(queue, min_size=config.lanes, max_size=config.lanes))


def of_lane(grants: list[Grant], lane: int) -> list[Grant]:
    """Grants of a lane in the order in which its words leave."""
    return sorted((grant for grant in grants if grant.lane == lane), key=lambda grant: grant.left)


def rate(config: Config, queues: list[list[int]]) -> float:
    """Words per lane and cycle, until the first lane has all its words."""
    grants = arbitrate(config, queues)
    last = min(of_lane(grants, lane)[-1].left for lane in range(config.lanes))
    return sum(grant.left <= last for grant in grants) / last / config.lanes


def test_placement_is_a_bijection_and_interleaved() -> None:
    places = [place(CONFIG, token) for token in range(CONFIG.tile)]
    assert len(set(places)) == CONFIG.tile
    for start in range(CONFIG.tile - CONFIG.banks):
        assert len({bank for bank, _ in places[start : start + CONFIG.banks]}) == CONFIG.banks


@given(tasks(CONFIGS))
def test_nothing_is_lost_repeated_or_reordered(task: tuple[Config, list[list[int]]]) -> None:
    config, queues = task
    grants = arbitrate(config, queues)
    for lane, queue in enumerate(queues):
        own = of_lane(grants, lane)
        assert [grant.token for grant in own] == queue
        assert len({grant.left for grant in own}) == len(own)
        assert all(grant.left > grant.cycle for grant in own)


@given(tasks(CONFIGS))
def test_requests_to_one_part_of_the_banks_are_read_in_order_one_a_cycle(task: tuple[Config, list[list[int]]]) -> None:
    config, queues = task
    grants = arbitrate(config, queues)
    for lane in range(config.lanes):
        for part in range(config.request_window):
            own = [g for g in of_lane(grants, lane) if place(config, g.token)[0] % config.request_window == part]
            assert all(before.cycle < after.cycle for before, after in pairwise(own))


@given(tasks(ONE_QUEUE))
def test_words_of_a_single_queue_leave_at_once(task: tuple[Config, list[list[int]]]) -> None:
    assert all(grant.left == grant.cycle + 1 for grant in arbitrate(*task))


@given(tasks(CONFIGS))
def test_a_bank_reads_one_word_a_cycle(task: tuple[Config, list[list[int]]]) -> None:
    config, queues = task
    words = {(grant.cycle, grant.token) for grant in arbitrate(config, queues)}
    ports = Counter((cycle, place(config, token)[0]) for cycle, token in words)
    assert max(ports.values(), default=1) == 1


@given(tasks(ONE_QUEUE))
def test_no_request_waits_for_more_than_the_other_lanes(task: tuple[Config, list[list[int]]]) -> None:
    config, queues = task
    grants = arbitrate(config, queues)
    for lane in range(config.lanes):
        cycles = [-1] + [grant.cycle for grant in of_lane(grants, lane)]
        assert all(after - before <= config.lanes for before, after in pairwise(cycles))


@given(tasks(CONFIGS))
def test_a_word_leaves_at_most_so_many_cycles_after_the_last_as_there_are_lanes(
    task: tuple[Config, list[list[int]]],
) -> None:
    config, queues = task
    grants = arbitrate(config, queues)
    slack = 1 if config.request_depth == 1 else 0  # a queue for a single request takes one every other cycle
    for lane in range(config.lanes):
        cycles = [0] + [grant.left for grant in of_lane(grants, lane)]
        assert all(after - before <= config.lanes + slack for before, after in pairwise(cycles))


@given(tasks(ONE_QUEUE))
def test_no_bank_idles_while_it_is_asked(task: tuple[Config, list[list[int]]]) -> None:
    config, queues = task
    grants = arbitrate(config, queues)
    assert sorted({grant.cycle for grant in grants}) == list(range(max((g.cycle for g in grants), default=-1) + 1))
    served = {(g.cycle, place(config, g.token)[0]) for g in grants}
    position = [0] * config.lanes
    for cycle in range(max((g.cycle for g in grants), default=-1) + 1):
        for lane, queue in enumerate(queues):
            if position[lane] < len(queue):
                assert (cycle, place(config, queue[position[lane]])[0]) in served
        for grant in (g for g in grants if g.cycle == cycle):
            position[grant.lane] += 1


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("start", range(4))
def test_consecutive_tokens_flow_at_full_rate(start: int, window: int) -> None:
    queues = [list(range(start + lane, 16, CONFIG.lanes)) for lane in range(CONFIG.lanes)]
    grants = arbitrate(dataclasses.replace(CONFIG, request_window=window), queues)
    assert max(grant.left for grant in grants) == max(map(len, queues))


def test_equal_requests_share_one_read_and_unequal_ones_take_turns() -> None:
    assert {g.cycle for g in arbitrate(CONFIG, [[5]] * 4)} == {0}
    colliding = arbitrate(CONFIG, [[0, 0], [4, 4], [8, 8], [12, 12]])
    assert [(g.cycle, g.lane) for g in colliding] == [(cycle, cycle % 4) for cycle in range(8)]


def test_a_request_overtakes_one_to_another_part_of_the_banks() -> None:
    queues = [[0], [4], [8], [12, 1]]
    blocked = of_lane(arbitrate(CONFIG, queues), 3)
    assert [(g.cycle, g.left) for g in blocked] == [(3, 4), (4, 5)]
    overtaking = of_lane(arbitrate(dataclasses.replace(CONFIG, request_window=2), queues), 3)
    assert [(g.cycle, g.left) for g in overtaking] == [(3, 4), (1, 5)]


def test_more_queues_serve_more_random_requests() -> None:
    tokens = np.random.default_rng(0).integers(0, 1 << 20, (16, 1500)).tolist()
    wide = Config(head_dim=16, query_rows=16, tile=1024, lanes=16, banks=32)
    rates = [rate(dataclasses.replace(wide, request_window=window), tokens) for window in (1, 2, 4)]
    assert rates == pytest.approx([0.775, 0.967, 0.995], abs=0.01)
