"""The bank arbiter and the layout of the token buffers that it serves."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence

from golden.config import Config


def place(config: Config, token: int) -> tuple[int, int]:
    """Bank and row of a token's word: interleaved, so that `banks` consecutive tokens never collide."""
    return token % config.banks, token // config.banks


@dataclasses.dataclass(frozen=True)
class Grant:
    """One lane's word is read in `cycle`, counted from the first cycle in which requests are queued."""

    cycle: int
    lane: int
    token: int


def arbitrate(config: Config, requests: Sequence[Sequence[int]]) -> list[Grant]:
    """The grants of all requests, request queues kept full and words always taken: [lanes][...] tokens.

    Every cycle each bank serves the requested token of the first lane at or after its turn, and with it all lanes
    that ask for the same token. The turn passes to the lane after the one that won, so a request waits for at most
    lanes - 1 others. Each lane is served in order.
    """
    waiting = [deque(queue) for queue in requests]
    turn = [0] * config.banks
    grants: list[Grant] = []
    cycle = 0
    while any(waiting):
        heads = [queue[0] if queue else None for queue in waiting]
        for bank in range(config.banks):
            asking = [lane for lane, token in enumerate(heads) if token is not None and place(config, token)[0] == bank]
            if not asking:
                continue
            winner = min(asking, key=lambda lane: (lane - turn[bank]) % config.lanes)
            turn[bank] = (winner + 1) % config.lanes
            for lane in asking:
                if heads[lane] == heads[winner]:
                    grants.append(Grant(cycle, lane, waiting[lane].popleft()))
        cycle += 1
    return sorted(grants, key=lambda grant: (grant.cycle, grant.lane))
