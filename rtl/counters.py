"""Performance counters of the core: what every cycle went to, and the work that was done.

Every cycle counts once, by what the q . k multiplier does in it: it takes a pass, or it waits for the first of `WAITS`
that holds. Causes before the sequencer are seen when the pass that they delay would have come: a key buffer later.
"""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config, Tier
from rtl import layouts
from rtl.trees import balanced_sum

COUNTER_BITS = 48
"""Days of cycles, and hours of the products of many lanes, before a counter wraps."""

BUSY = "busy"
"""A pass enters the q . k multiplier."""

WAITS = (
    "waits_output",  # what follows the key buffer is full: in the end, the output is not taken as fast as it comes
    "waits_bank",  # lanes ask a bank of the key buffer for different words
    "idle",  # nothing is offered, and there is neither a query nor a key tile to work on
    "waits_query",  # no query tile is complete
    "waits_token",  # a query tile is, but no key tile
    "waits_group",  # both are, but no list of lane groups
)
"""Why no pass enters, the first that holds."""

CYCLES = (BUSY, *WAITS)
"""Their sum is the number of cycles since reset or `clear`."""

BEAT = ("active", "digit", "whole", "last_digit", "visit", "tile_end", "query_end")
"""What of a beat is looked at."""


def counters(config: Config) -> data.StructLayout:
    """All counters. Work is counted as the sequencer sends it, rows as they leave."""
    by_tier = data.ArrayLayout(COUNTER_BITS, len(Tier))
    return data.StructLayout(
        {
            **dict.fromkeys(CYCLES, COUNTER_BITS),
            "passes": by_tier,  # of a tier; FULL counts as LUT8 if it reads the same digits in as many
            "products": by_tier,  # active lanes over these passes; each multiplies head_dim channels in both arrays
            "groups": COUNTER_BITS,  # lane groups of key tiles
            "key_tiles": COUNTER_BITS,  # again for every query tile
            "query_tiles": COUNTER_BITS,
            "rows": COUNTER_BITS,  # taken at the output
        }
    )


def watched(config: Config) -> data.StructLayout:
    """What the counters look at: valid and ready of streams within the core, and of the sequencer's beat a part."""
    handshake = data.StructLayout({"valid": 1, "ready": 1})
    beat = layouts.beat(config)
    return data.StructLayout(
        {
            "key_pass": handshake,  # codes of the q . k multiplier
            "key_beat": handshake,  # beats into the key buffer
            "sent": handshake,  # beats out of the sequencer
            "beat": data.StructLayout({name: beat[name].shape for name in BEAT}),
            "query_tile": handshake,  # complete tiles into the sequencer
            "key_tile": handshake,
            "output": handshake,
            "offered": 1,  # any input stream of the core has a word
        }
    )


class Counters(wiring.Component):
    """`counters` of what is `watched`; `clear` sets all to zero. Both are registered first: two cycles behind."""

    def __init__(self, config: Config, key_latency: int) -> None:
        self.config, self.key_latency = config, key_latency
        """`key_latency` is that of the key buffer"""
        super().__init__({"watched": In(watched(config)), "clear": In(1), "counters": Out(counters(config))})

    def elaborate(self, platform) -> Module:
        m = Module()
        seen, clear = Signal(watched(self.config)), Signal()
        m.d.sync += [seen.eq(self.watched), clear.eq(self.clear)]
        cause = self.cause(m, seen)
        beat, sent, output = seen.beat, seen.sent.valid & seen.sent.ready, seen.output
        done = {
            **{name: cause == n for n, name in enumerate(CYCLES)},
            "groups": sent & beat.last_digit & (beat.visit.row == 0),
            "key_tiles": sent & beat.tile_end,
            "query_tiles": sent & beat.tile_end & beat.query_end,
            "rows": output.valid & output.ready,
        }
        counts: list[tuple[Value, Value, Value | int]] = [(self.counters[name], on, 1) for name, on in done.items()]
        # How many passes a group took, and whether of whole codes, is its tier: known with the last of them.
        lanes = balanced_sum([beat.active[n] for n in range(self.config.lanes)])
        reads = [(self.config.passes(tier), self.config.digits_read(tier)) for tier in Tier]
        for passes, digits in sorted(set(reads)):
            tier = Tier(reads.index((passes, digits)))
            on = sent & beat.last_digit & (beat.digit == passes - 1)
            if layouts.whole(self.config):
                on &= beat.whole == (tier == Tier.FULL)
            counts += [(self.counters.passes[tier], on, passes), (self.counters.products[tier], on, lanes * passes)]
        for counter, on, step in counts:
            with m.If(on):
                m.d.sync += counter.eq(counter + step)
            with m.If(clear):
                m.d.sync += counter.eq(0)
        return m

    def cause(self, m: Module, seen) -> Signal:
        """What the cycle goes to: the index in CYCLES."""
        code = {name: n for n, name in enumerate(CYCLES)}
        entered = seen.key_beat.valid & seen.key_beat.ready
        left = seen.key_pass.valid & seen.key_pass.ready

        # A query tile is at work from where it is taken to its last beat.
        resident = Signal()
        finished = seen.sent.valid & seen.sent.ready & seen.beat.tile_end & seen.beat.query_end
        with m.If(seen.query_tile.valid & seen.query_tile.ready):
            m.d.sync += resident.eq(1)
        with m.Elif(finished):
            m.d.sync += resident.eq(0)

        # What the sequencer lacks, should it have nothing to send.
        lacks = Signal(range(len(CYCLES)))
        query = (resident & ~finished) | seen.query_tile.valid
        with m.If(~query & ~seen.key_tile.valid & ~seen.offered):
            m.d.comb += lacks.eq(code["idle"])
        with m.Elif(~query):
            m.d.comb += lacks.eq(code["waits_query"])
        with m.Elif(~seen.key_tile.valid):
            m.d.comb += lacks.eq(code["waits_token"])
        with m.Else():
            m.d.comb += lacks.eq(code["waits_group"])

        lacked, silent = (Signal(range(len(CYCLES)), init=code["idle"], name=name) for name in ("lacked", "silent"))
        m.d.sync += [lacked.eq(lacks), silent.eq(lacks)]
        with m.If(seen.sent.valid):
            m.d.sync += silent.eq(code["waits_output"])  # or it does send, and the key buffer tells below
        with m.Elif(seen.key_tile.valid & seen.key_tile.ready):
            m.d.sync += silent.eq(lacked)  # taking the tiles belongs to what was waited for

        # Beats in the key buffer for as long as it takes without conflicts: their words are due.
        due = Signal(range(self.config.request_depth + self.key_latency + 1))
        present, upstream = (self.later(m, value, self.key_latency - 1) for value in (entered, silent))
        m.d.sync += due.eq(due + present - left)
        cause = Signal(range(len(CYCLES)))
        with m.If(left):
            m.d.comb += cause.eq(code[BUSY])
        with m.Elif(seen.key_pass.valid):
            m.d.comb += cause.eq(code["waits_output"])
        with m.Elif(due != 0):
            m.d.comb += cause.eq(code["waits_bank"])
        with m.Else():
            m.d.comb += cause.eq(upstream)
        return cause

    def later(self, m: Module, value: Value, cycles: int) -> Value:
        """`value`, so many cycles later; with a reset, unlike `delay`."""
        for _ in range(cycles):
            register = Signal.like(value, name="later")
            m.d.sync += register.eq(value)
            value = register
        return value
