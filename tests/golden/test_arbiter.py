from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.arbiter import arbitrate, place
from golden.config import Config

CONFIG = Config(head_dim=16, query_rows=8, tile=16, lanes=4, banks=4)
QUEUES = st.lists(st.lists(st.integers(0, 15), max_size=12), min_size=4, max_size=4)


def test_placement_is_a_bijection_and_interleaved() -> None:
    places = [place(CONFIG, token) for token in range(CONFIG.tile)]
    assert len(set(places)) == CONFIG.tile
    for start in range(CONFIG.tile - CONFIG.banks):
        assert len({bank for bank, _ in places[start : start + CONFIG.banks]}) == CONFIG.banks


@given(QUEUES)
def test_nothing_is_lost_repeated_or_reordered(queues: list[list[int]]) -> None:
    grants = arbitrate(CONFIG, queues)
    for lane, queue in enumerate(queues):
        own = [grant for grant in grants if grant.lane == lane]
        assert [grant.token for grant in own] == queue
        assert len({grant.cycle for grant in own}) == len(own)


@given(QUEUES)
def test_a_bank_reads_one_word_a_cycle(queues: list[list[int]]) -> None:
    words = {(grant.cycle, grant.token) for grant in arbitrate(CONFIG, queues)}
    ports = Counter((cycle, place(CONFIG, token)[0]) for cycle, token in words)
    assert max(ports.values(), default=1) == 1


@given(QUEUES)
def test_no_request_waits_for_more_than_the_other_lanes(queues: list[list[int]]) -> None:
    grants = arbitrate(CONFIG, queues)
    for lane in range(CONFIG.lanes):
        cycles = [-1] + [grant.cycle for grant in grants if grant.lane == lane]
        assert all(after - before <= CONFIG.lanes for before, after in pairwise(cycles))


@given(QUEUES)
def test_no_bank_idles_while_it_is_asked(queues: list[list[int]]) -> None:
    grants = arbitrate(CONFIG, queues)
    assert sorted({grant.cycle for grant in grants}) == list(range(max((g.cycle for g in grants), default=-1) + 1))
    served = {(g.cycle, place(CONFIG, g.token)[0]) for g in grants}
    position = [0] * CONFIG.lanes
    for cycle in range(max((g.cycle for g in grants), default=-1) + 1):
        for lane, queue in enumerate(queues):
            if position[lane] < len(queue):
                assert (cycle, place(CONFIG, queue[position[lane]])[0]) in served
        for grant in (g for g in grants if g.cycle == cycle):
            position[grant.lane] += 1


@pytest.mark.parametrize("start", range(4))
def test_consecutive_tokens_flow_at_full_rate(start: int) -> None:
    queues = [list(range(start + lane, 16, CONFIG.lanes)) for lane in range(CONFIG.lanes)]
    grants = arbitrate(CONFIG, queues)
    assert max(grant.cycle for grant in grants) + 1 == max(map(len, queues))


def test_equal_requests_share_one_read_and_unequal_ones_take_turns() -> None:
    assert {g.cycle for g in arbitrate(CONFIG, [[5]] * 4)} == {0}
    colliding = arbitrate(CONFIG, [[0, 0], [4, 4], [8, 8], [12, 12]])
    assert [(g.cycle, g.lane) for g in colliding] == [(cycle, cycle % 4) for cycle in range(8)]
