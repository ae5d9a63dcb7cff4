"""The rules of others behind one interface: a head and the work that may be spent go in, output and real work come out.

Work is counted in table passes per product of a query and a key: 2 for 8 bits or more, 1 for 4 bits, 0 where the pair
is dropped or merged away. Masks and merging compute what is left exactly; INT8 in two passes would be as good. The cost
of choosing (pooled scores, profiled rows, comparisons) is not counted for any rule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from golden.masks import Keep, attend_kept, sparge, svg
from golden.merging import Merged, adaptiv, attend_merged, cmc
from golden.oracle import dense
from golden.tiles import Tiles
from golden.traces import Head

FULL_WORK = 2.0
"""Passes per product of 8 bits or more."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a rule makes of a head."""

    output: NDArray[np.float64]
    """[tokens, head_dim], original order"""
    work: float
    """Table passes spent per product of a query and a key of the head, 0 to 2."""


Rule = Callable[[Head, Tiles, Tiles, float], Outcome]
"""From a head, its query tiles, its key tiles and the wanted work, (0, 2] passes per product.

The work spent is at most what is wanted, but for what a rule must always keep. Other wanted work raises ValueError.
"""


def _share(wanted: float) -> float:
    """The share of pairs that the wanted work pays for."""
    if not 0 < wanted <= FULL_WORK:
        raise ValueError(f"wanted = {wanted}: must be above 0 and at most {FULL_WORK:g} passes per product")
    return wanted / FULL_WORK


def quantised(x: NDArray[np.floating], bits: int) -> NDArray[np.float64]:
    """x [tokens, head_dim] rounded to integers of so many bits, one symmetric scale a token.

    The scale is max |x| / (2^(bits - 1) - 1). The mean over tokens is subtracted before and added after ("smooth
    matrix K" of SageAttention, ICLR 2025).
    """
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean
    scale = np.abs(centred).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.rint(np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)) * scale + mean


def _uniform(bits: int, work: float) -> Rule:
    """Keys and values of so many bits, queries and probabilities in floating point; the work is fixed."""

    def rule(head: Head, query_tiles: Tiles, key_tiles: Tiles, wanted: float) -> Outcome:
        _share(wanted)
        return Outcome(dense(head.q, quantised(head.k, bits), quantised(head.v, bits)), work)

    return rule


def _masked(choose: Callable[[Head, Tiles, Tiles, float], Keep]) -> Rule:
    def rule(head: Head, query_tiles: Tiles, key_tiles: Tiles, wanted: float) -> Outcome:
        output, pairs = attend_kept(head, choose(head, query_tiles, key_tiles, _share(wanted)))
        return Outcome(output, FULL_WORK * pairs / len(head.q) ** 2)

    return rule


def _merging(choose: Callable[[Head, float], Merged], average_rows: bool) -> Rule:
    def rule(head: Head, query_tiles: Tiles, key_tiles: Tiles, wanted: float) -> Outcome:
        merged = choose(head, _share(wanted))
        return Outcome(attend_merged(head, merged, average_rows), FULL_WORK * merged.pairs / len(head.q) ** 2)

    return rule


def _sparge_keep(head: Head, query_tiles: Tiles, key_tiles: Tiles, share: float) -> Keep:
    blocks = sparge(head, query_tiles, key_tiles, share)
    rows, columns = query_tiles.tile_of, key_tiles.tile_of
    return lambda tokens: blocks[rows[tokens]][:, columns]


def _svg_keep(head: Head, query_tiles: Tiles, key_tiles: Tiles, share: float) -> Keep:
    return svg(head, share).keep


PEERS: dict[str, Rule] = {
    "int4": _uniform(4, 1.0),
    "int8": _uniform(8, FULL_WORK),
    "sparge": _masked(_sparge_keep),
    "svg": _masked(_svg_keep),
    "cmc": _merging(cmc, average_rows=False),
    "adaptiv": _merging(adaptiv, average_rows=True),
}
"""Every rule by name; the work of int4 and int8 is 1 and 2 whatever is wanted."""
