"""What is proved, each claim with the depth that shows it and a broken design that violates it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from golden.config import Config
from rtl.components import COMPONENTS
from rtl.reuse import Reuse
from rtl.streams import Fork
from rtl.table_styles import STYLES
from sim.mutants import Edit
from sim.properties.arbiter import BoundedWait, LaneOrder, OneGrant
from sim.properties.harness import Harness
from sim.properties.loops import EveryIteration
from sim.properties.multiplier import EveryPlane, EveryProduct, TableSwitch

CONFIG = Config(
    head_dim=16,
    query_rows=2,
    tile=4,
    piece=4,
    cell=2,
    lanes=2,
    banks=2,
    query_bits=8,
    prob_bits=8,
    score_integer_bits=6,
    score_fraction_bits=8,
    max_tokens=4,
)
"""Small enough for a solver; nothing in the control of a stream depends on the widths."""
WHOLE = dataclasses.replace(CONFIG, full_engine="multipliers")
NARROW_BITS = 3
MANY = 4
"""From so many operands in a table on, its products are proved for narrow operands only: solvers take too long."""
FOUR_LANES = dataclasses.replace(CONFIG, lanes=4, query_rows=4, banks=4, request_depth=2)
NUMBERED = dataclasses.replace(FOUR_LANES, tile=64, max_tokens=64)
"""Has more rows in a bank than a lane has requests under way."""


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


LATE = Edit("arbiter", "queue.r_rdy & words.room", "queue.r_rdy")
"""A lane asks although its last word may still wait."""
STALL = Edit("streams", "advance.eq(o.ready | ~o.valid)", "advance.eq(1)")


def stream_rules(
    component: str, bound: int, mutant: Edit = STALL, induction: int | None = 2, config: Config = CONFIG
) -> Property:
    """The transfer rules of all streams of a component."""
    name = f"{component}_whole_streams" if config is WHOLE else f"{component}_streams"
    return Property(name, component, lambda: Harness(COMPONENTS[component](config)), bound, mutant, induction)


def products(style: str, mutant: Edit, inverted: bool = False) -> Property:
    """Products of one table style at full width: of whole digits, or plane by plane where a table joins operands."""
    claim = EveryProduct if STYLES[style].span == 1 else EveryPlane
    bits = Config().query_bits if STYLES[style].span < MANY else NARROW_BITS
    name = f"{style}_inverted_products" if inverted else f"{style}_products"
    return Property(name, "multiplier", lambda: claim(style, bits, inverted), 1, mutant, 1)


def whole_products(style: str, mutant: Edit) -> Property:
    """Products of a style that joins operands, as whole digits of narrow operands."""
    return Property(
        f"{style}_whole_products", "multiplier", lambda: EveryProduct(style, NARROW_BITS, inverted=False), 1, mutant, 1
    )


def switch(style: str) -> Property:
    """Switching of tables of one style."""
    config = dataclasses.replace(CONFIG, table=style)
    stale = Edit("multiplier", "tables.load.eq(load)", "tables.load.eq(load & ~table_valid)")
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
        lambda: LaneOrder(NUMBERED),
        16,
        LATE,
    ),
    Property(
        "lane_order_2_queues",
        "arbiter",
        lambda: LaneOrder(dataclasses.replace(NUMBERED, request_window=2)),
        10,
        Edit("reorder", "& order.r_rdy & (order.r_data == n)", ""),
    ),
    Property(
        "every_iteration",
        "loops",
        lambda: EveryIteration(CONFIG),
        8,
        Edit("loops", "inner_end = inner_end & ends", "inner_end = ends"),
        induction=1,
    ),
    products("odd", Edit("table_styles", "m + (m << 2)", "m + (m << 3)")),
    products("full", Edit("table_styles", "*range(DIGIT_MIN, 0)]", "*range(DIGIT_MIN, -1), 1]")),
    products("booth", Edit("table_styles", "(sign & ~here & ~before)", "(sign & ~here)")),
    products("signed", Edit("table_styles", "return [m, -m]", "return [m, ~m]")),
    products("signed", Edit("table_styles", "(0b10, 0b00, 0b01)", "(0b10, 0b01, 0b00)"), inverted=True),
    products("pairs", Edit("table_styles", "return [a, b, a + b]", "return [a, b, a | b]")),
    products("pairs", Edit("adders", "1 if term.negative else -1", "1"), inverted=True),
    *(
        products(style, Edit("table_styles", "first if plane == DIGIT_BITS - 1 else ~first", "~first"))
        for style in ("half_pairs", "half_triples", "half_quads")
    ),
    whole_products(
        "pairs", Edit("table_styles", "terms.append(Term(chosen, plane,", "terms.append(Term(chosen, plane & 1,")
    ),
    whole_products("half_pairs", Edit("table_styles", "~first), plane)", "~first), plane & 1)")),
    *(switch(style) for style in ("odd", "full", "signed", "pairs", "half_pairs")),
    Property(
        "whole_code_switch",
        "multiplier",
        lambda: TableSwitch(WHOLE, bits=2),
        8,
        Edit("products", "delay(m, self.enable, held, 1,", "delay(m, self.enable, held, 0,"),
    ),
    Property(
        "fork_streams",
        "streams",
        lambda: Harness(Fork(8, 3)),
        8,
        Edit("streams", "finished[n].eq(taken[n] | o.ready)", "finished[n].eq(taken[n] | ~o.ready)"),
        induction=2,
    ),
    stream_rules("align", 8),
    stream_rules("rotate", 8, Edit("rotate", "(left == 0) & (~filled | self.o.ready)", "(left == 0)")),
    stream_rules("centre", 10),
    stream_rules("quantise", 24),
    stream_rules("encode", 10),
    stream_rules("match", 14),
    Property(
        "reuse_streams",
        "reuse",
        lambda: Harness(Reuse(dataclasses.replace(CONFIG, reuse_distance=0.3, match_bits=6))),
        10,
        Edit("reuse", "under_way + taken < self.head.payload.frame_tokens", "1"),
    ),
    stream_rules("compact", 16, Edit("compact", "(~final | last | parts.r_rdy)", "1"), None),
    stream_rules("pool", 14),
    stream_rules("tier_buffer", 12, Edit("tier_buffer", "sent = self.o.valid & self.o.ready", "sent = self.o.valid")),
    stream_rules("group", 12, Edit("group", "sent & ~last & picked", "~last & picked")),
    stream_rules("score", 10),
    stream_rules("softmax", 12),
    stream_rules("accumulate", 8),
    stream_rules("normalise", 24),
    stream_rules("key_multiplier", 10),
    stream_rules("value_multiplier", 10),
    stream_rules("value_multiplier", 10, config=WHOLE),
    stream_rules("arbiter", 10, LATE),
    stream_rules("value_buffer", 8, LATE, None),
    stream_rules("key_buffer", 8, LATE, None),
    stream_rules("key_buffer", 8, LATE, None, config=WHOLE),
    stream_rules(
        "sequencer", 12, Edit("sequencer", "taken = self.o.valid & self.o.ready", "taken = self.o.valid"), None
    ),
)
