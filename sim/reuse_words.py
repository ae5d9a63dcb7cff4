"""What memory is asked for and told where rows are reused: see rtl.reuse."""

from __future__ import annotations

import dataclasses

from golden.config import Config
from golden.match import Matching
from golden.prepare import words
from golden.tiles import make_tiles
from golden.traces import Head
from rtl.match import pair
from rtl.reuse import request, reused
from sim.pack import pack


@dataclasses.dataclass(frozen=True)
class ReuseWords:
    """Packed words of one head."""

    request: list[int]
    reference: list[int]
    """The rows that are asked for"""
    reused: list[int]


def reuse_words(config: Config, head: Head, matching: Matching) -> ReuseWords:
    """The words of a head that was matched, in tile order."""
    found = ReuseWords([], [], [])
    text, size = head.text_tokens, head.grid[1] * head.grid[2]
    elements = words(config, head, "q").tolist()
    order = make_tiles(config, head.grid, text, config.query_rows).order.tolist()
    for n, token in enumerate(order):
        taken = int(matching.reference[token])
        if frame_of(head, token) > 1:
            reference = int(matching.reference[token - size])
            wanted = {"frame": frame_of(head, reference), "place": (n - text) % size}
            found.request.append(pack(request(config), wanted))
            found.reference.append(pack(pair(config)["reference"].shape, elements[reference]))
        told = {"frame": frame_of(head, taken), "reused": taken != token, "last": n == len(order) - 1}
        found.reused.append(pack(reused(config), told))
    return found


def frame_of(head: Head, token: int) -> int:
    """The frame of a token, counted from 1; 0 for text."""
    return 0 if token < head.text_tokens else 1 + (token - head.text_tokens) // (head.grid[1] * head.grid[2])
