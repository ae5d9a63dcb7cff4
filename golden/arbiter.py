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
    """One lane's word is read in `cycle`, counted from the first cycle in which requests are queued, and leaves later.

    `left` is the cycle in which it leaves, once all words that the lane asked for before have left.
    """

    cycle: int
    left: int
    lane: int
    token: int


@dataclasses.dataclass
class _Request:
    token: int
    bank: int
    queue: int
    read: int | None = None
    """the cycle in which its word was read"""


class _Lane:
    """One lane: what it will ask for, and in order all that it has asked for, until the word has left."""

    def __init__(self, config: Config, tokens: Sequence[int]) -> None:
        self.config = config
        self.tokens = deque(tokens)
        self.under_way: deque[_Request] = deque()
        self.room = 1 if config.request_window == 1 else config.request_depth
        """words of a queue that may be read and have not left"""

    def queued(self, queue: int) -> list[_Request]:
        """Requests that wait in a queue."""
        return [request for request in self.under_way if request.queue == queue and request.read is None]

    def entering(self) -> _Request | None:
        """The request that enters its queue in this cycle: one, if the queue is not full."""
        if not self.tokens:
            return None
        bank, _ = place(self.config, self.tokens[0])
        queue = bank % self.config.request_window
        if len(self.queued(queue)) == self.config.request_depth:
            return None
        return _Request(self.tokens.popleft(), bank, queue)

    def leaving(self) -> _Request | None:
        """The request whose word leaves in this cycle: the oldest one, if it was read before."""
        if self.under_way and self.under_way[0].read is not None:
            return self.under_way.popleft()
        return None

    def heads(self) -> list[_Request]:
        """The oldest request of every queue that has room for its word."""
        heads = []
        for queue in range(self.config.request_window):
            words = sum(request.queue == queue and request.read is not None for request in self.under_way)
            heads += self.queued(queue)[: words < self.room]
        return heads


def arbitrate(config: Config, requests: Sequence[Sequence[int]]) -> list[Grant]:
    """The grants of all requests, offered as fast as they are taken, their words always taken: [lanes][...] tokens.

    A lane has request_window queues of request_depth; that of a bank is its number modulo request_window. Every cycle
    each bank serves the oldest request, in the queue of the first lane at or after its turn, and with it all lanes
    that ask for the same token. The turn passes to the lane after the one that won, so a request waits for at most
    lanes - 1 others. Each queue is served in order, and words leave in the order of their requests; as many as a queue
    holds may wait until earlier ones have come. With a single queue none ever does.
    """
    lanes = [_Lane(config, tokens) for tokens in requests]
    turn = [0] * config.banks
    grants: list[Grant] = []
    cycle = -1
    while any(lane.tokens or lane.under_way for lane in lanes):
        entering = [lane.entering() for lane in lanes]
        for number, lane in enumerate(lanes):
            if (word := lane.leaving()) and word.read is not None:
                grants.append(Grant(word.read, cycle, number, word.token))
        asking = [(number, head) for number, lane in enumerate(lanes) for head in lane.heads()]
        for bank in range(config.banks):
            asked = {number: head for number, head in asking if head.bank == bank}
            if not asked:
                continue
            winner = min(asked, key=lambda number: (number - turn[bank]) % config.lanes)
            turn[bank] = (winner + 1) % config.lanes
            for head in asked.values():
                if head.token == asked[winner].token:
                    head.read = cycle
        for lane, request in zip(lanes, entering, strict=True):
            if request:
                lane.under_way.append(request)
        cycle += 1
    return sorted(grants, key=lambda grant: (grant.cycle, grant.lane))
