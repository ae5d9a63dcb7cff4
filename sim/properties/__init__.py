"""What is proved, each claim with the depth that shows it and a broken design that violates it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from golden.config import Config
from rtl.components import COMPONENTS
from rtl.streams import Fork
from rtl.table_styles import STYLES
from sim.mutants import Edit
from sim.properties.arbiter import BoundedWait, LaneOrder, OneGrant
from sim.properties.harness import Harness
from sim.properties.multiplier import EveryProduct, TableSwitch

CONFIG = Config(
    head_dim=16,
    query_rows=2,
    tile=4,
    lanes=2,
    banks=2,
    query_bits=8,
    prob_bits=8,
    score_integer_bits=6,
    score_fraction_bits=8,
    max_tokens=4,
)
"""Small enough for a solver; nothing in the control of a stream depends on the widths."""
NARROW_BITS = 4
FOUR_LANES = dataclasses.replace(CONFIG, lanes=4, query_rows=4, banks=4, request_depth=2)


@dataclasses.dataclass(frozen=True)
class Property:
    """A claim: the assertions of a harness hold in every reachable state, and its covers are reached.

    `bound` is how many cycles are checked from reset on. With `induction`, so many cycles without a violation imply
    the next one without, which proves the claim for all times; otherwise it is proved up to the bound.
    """

    name: str
    component: str
    harness: Callable[[], Harness]
    bound: int
    mutant: Edit
    induction: int | None = None


LATE = Edit("arbiter", "queue.r_rdy & (self.o.ready | ~self.o.valid)", "queue.r_rdy")
"""A lane asks although its last word may still wait."""
STALL = Edit("streams", "advance.eq(o.ready | ~o.valid)", "advance.eq(1)")


def stream_rules(component: str, bound: int, mutant: Edit = STALL, induction: int | None = 2) -> Property:
    """The transfer rules of all streams of a component."""
    return Property(
        f"{component}_streams", component, lambda: Harness(COMPONENTS[component](CONFIG)), bound, mutant, induction
    )


def products(style: str, mutant: Edit) -> Property:
    """Products of one table style: at full width, but narrow where a table joins operands, which solvers abhor."""
    bits = Config().query_bits if STYLES[style].span == 1 else NARROW_BITS
    return Property(f"{style}_products", "multiplier", lambda: EveryProduct(style, bits), 1, mutant, 1)


def switch(style: str) -> Property:
    """Switching of tables of one style."""
    config = dataclasses.replace(CONFIG, table=style)
    stale = Edit("multiplier", "table.load.eq(load)", "table.load.eq(load & ~table_valid)")
    return Property(f"{style}_table_switch", "multiplier", lambda: TableSwitch(config), 8, stale)


PROPERTIES: tuple[Property, ...] = (
    Property(
        "one_grant",
        "arbiter",
        lambda: OneGrant(FOUR_LANES),
        10,
        Edit("arbiter", "Cat(self.asking[n] & (", "Cat(("),
        induction=1,
    ),
    Property(
        "bounded_wait",
        "arbiter",
        lambda: BoundedWait(FOUR_LANES),
        12,
        Edit("arbiter", "~(winner | (winner - 1))", "(1 << lanes) - 1"),
        induction=6,
    ),
    Property(
        "lane_order",
        "arbiter",
        lambda: LaneOrder(dataclasses.replace(FOUR_LANES, tile=64, max_tokens=64)),
        16,
        LATE,
    ),
    products("odd", Edit("table_styles", "m + (m << 2)", "m + (m << 3)")),
    products("pairs", Edit("table_styles", "return [a, b, a + b]", "return [a, b, a | b]")),
    products("full", Edit("table_styles", "*range(DIGIT_MIN, 0)]", "*range(DIGIT_MIN, -1), 1]")),
    switch("odd"),
    switch("pairs"),
    switch("full"),
    Property(
        "fork_streams",
        "streams",
        lambda: Harness(Fork(8, 3)),
        8,
        Edit("streams", "finished[n].eq(taken[n] | o.ready)", "finished[n].eq(taken[n] | ~o.ready)"),
        induction=2,
    ),
    stream_rules("align", 8),
    stream_rules("score", 10),
    stream_rules("softmax", 12),
    stream_rules("accumulate", 8),
    stream_rules("normalise", 24),
    stream_rules("key_multiplier", 10),
    stream_rules("value_multiplier", 10),
    stream_rules("arbiter", 10, LATE),
    stream_rules("value_buffer", 8, LATE, None),
    stream_rules("key_buffer", 8, LATE, None),
    stream_rules(
        "sequencer", 12, Edit("sequencer", "taken = self.o.valid & self.o.ready", "taken = self.o.valid"), None
    ),
)
