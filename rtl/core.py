"""The attention core: query tiles stay, key/value tiles stream by, tiers mix under one running maximum.

query -> align -> query_buffer -> key_multiplier -> score -> softmax -> value_multiplier -> accumulate -> normalise
                      |               |                                      |                               |
group -> sequencer ---+---------- key_buffer                            value_buffer                      output
token -----------------------------> + ------------------------------------> +
"""

from __future__ import annotations

from typing import TypeVar

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.config import Config
from rtl import layouts
from rtl.accumulate import Accumulate
from rtl.align import Align
from rtl.counters import BEAT, Counters, counters
from rtl.library import Named
from rtl.multiplier import KeyMultiplier, ValueMultiplier
from rtl.normalise import Normalise
from rtl.query_buffer import QueryBuffer
from rtl.score import Score
from rtl.sequencer import Sequencer
from rtl.softmax import Softmax
from rtl.streams import Fork, Slots, queue
from rtl.token_buffer import KeyBuffer, ValueBuffer

ComponentT = TypeVar("ComponentT", bound=wiring.Component)


class Core(wiring.Component):
    """Streaming attention: see golden.attention.

    Streams
    -------
    query : `layouts.query`, the rows of a query tile, `last` with its last row.
    token : `layouts.token`, the tokens of a key/value tile, `last` with its last token; all key tiles of a query tile
        in the order of their groups, and again for the next query tile.
    group : `layouts.group`, the lane groups of each of these tiles; what speculation and grouping produce.
    output : `layouts.output`, one row for every query row, in order.

    Each stream may run ahead of the others as far as its buffers reach. Every pass of every row takes one cycle of
    both multipliers; loading hides behind computing. When `released` is high, there is room for another query tile.
    `counters` tell how well it does, and what was done: see rtl.counters; `clear` sets them to zero.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "query": In(stream.Signature(layouts.query(config))),
                "token": In(stream.Signature(layouts.token(config))),
                "group": In(stream.Signature(layouts.group(config))),
                "output": Out(stream.Signature(layouts.output(config))),
                "released": Out(1),
                "counters": Out(counters(config)),
                "clear": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config

        def part(name: str, component: ComponentT) -> ComponentT:
            m.submodules[name] = Named(component, name)
            return component

        align = part("align", Align(config))
        query_buffer = part("query_buffer", QueryBuffer(config))
        sequencer = part("sequencer", Sequencer(config))
        key_buffer = part("key_buffer", KeyBuffer(config))
        key_multiplier = part("key_multiplier", KeyMultiplier(config))
        score = part("score", Score(config))
        softmax = part("softmax", Softmax(config))
        value_buffer = part("value_buffer", ValueBuffer(config))
        value_multiplier = part("value_multiplier", ValueMultiplier(config))
        accumulate = part("accumulate", Accumulate(config))
        normalise = part("normalise", Normalise(config))
        fork = part("beat_fork", Fork(layouts.beat(config), 3))
        # Values begin when their probabilities are there: beats wait for the first ones, and the weights of short lane
        # groups for a long one before them, which is still being multiplied.
        wait = config.digits
        depth = key_buffer.latency + key_multiplier.latency + score.latency + softmax.latency + wait + 8
        queue(m, "value_beats", fork.o[2], value_buffer.i, depth)
        queue(m, "weights", softmax.o, value_multiplier.operand, wait + 1)  # a full one takes none while it gives one

        connect(m, flipped(self.query), align.i)
        connect(m, align.o, query_buffer.i)
        connect(m, query_buffer.tile, sequencer.query)
        connect(m, flipped(self.group), sequencer.group)
        connect(m, sequencer.o, fork.i)
        connect(m, fork.o[0], query_buffer.beats)
        connect(m, fork.o[1], key_buffer.i)
        connect(m, query_buffer.o, key_multiplier.operand)
        connect(m, key_multiplier.product, score.i)
        connect(m, score.o, softmax.i)
        connect(m, value_multiplier.product, accumulate.i)
        connect(m, accumulate.o, normalise.i)
        connect(m, normalise.o, flipped(self.output))
        self.feed_keys(m, key_buffer, key_multiplier)
        self.feed_values(m, value_buffer, value_multiplier)
        self.load_tokens(m, key_buffer, value_buffer, sequencer)
        performance = part("performance", Counters(config, key_buffer.latency))
        m.d.comb += [
            self.counters.eq(performance.counters),
            performance.clear.eq(self.clear),
            self.released.eq(query_buffer.released),
        ]
        self.watch(m, performance.watched, sequencer, key_buffer, key_multiplier)
        return m

    def feed_keys(self, m: Module, buffer: KeyBuffer, multiplier: KeyMultiplier) -> None:
        """A lane's key meets all channels of the query."""
        words, codes = buffer.o.payload, multiplier.codes.payload
        m.d.comb += [
            multiplier.codes.valid.eq(buffer.o.valid),
            buffer.o.ready.eq(multiplier.codes.ready),
            codes.digits.eq(words.codes),
            codes.last.eq(words.beat.row_end),
            codes.whole.eq(words.beat.whole),
            codes.tag.digit.eq(words.beat.digit),
            codes.tag.whole.eq(words.beat.whole),
            codes.tag.last_digit.eq(words.beat.last_digit),
            codes.tag.active.eq(words.beat.active),
            codes.tag.scales.eq(words.side),
            codes.tag.visit.eq(words.beat.visit),
        ]

    def feed_values(self, m: Module, buffer: ValueBuffer, multiplier: ValueMultiplier) -> None:
        """A channel of the values meets the probabilities of all lanes."""
        words, codes = buffer.o.payload, multiplier.codes.payload
        m.d.comb += [
            multiplier.codes.valid.eq(buffer.o.valid),
            buffer.o.ready.eq(multiplier.codes.ready),
            codes.last.eq(words.beat.last_digit),
            codes.whole.eq(words.beat.whole),
            codes.tag.digit.eq(words.beat.digit),
            codes.tag.whole.eq(words.beat.whole),
            codes.tag.last_digit.eq(words.beat.last_digit),
            codes.tag.visit.eq(words.beat.visit),
        ]
        lanes, channels = range(self.config.lanes), range(self.config.head_dim)
        transposed = Cat(words.codes[lane][c] for c in channels for lane in lanes)
        m.d.comb += Value.cast(codes.digits).eq(transposed)

    def load_tokens(self, m: Module, keys: KeyBuffer, values: ValueBuffer, sequencer: Sequencer) -> None:
        """Tokens fill the next free slot of both buffers; the slower value side frees it again."""
        m.submodules.slots = slots = Slots(self.config.tile_slots, 0)
        connect(m, slots.tile, sequencer.key)
        token, index = self.token.payload, Signal(self.config.token_bits)
        taken = self.token.valid & self.token.ready
        m.d.comb += [self.token.ready.eq(slots.free), slots.filled.eq(taken & token.last)]
        with m.If(taken):
            m.d.sync += index.eq(Mux(token.last, 0, index + 1))
        for buffer, codes in ((keys, token.key), (values, token.value)):
            m.d.comb += [
                buffer.write.eq(taken),
                buffer.slot.eq(slots.write_slot),
                buffer.token.eq(index),
                buffer.entry.codes.eq(codes),
            ]
        m.d.comb += keys.entry.side.eq(token.scales)
        finished = values.o.valid & values.o.ready & values.o.payload.beat.tile_end
        m.d.comb += slots.release.eq(finished)

    def watch(self, m: Module, watched, sequencer: Sequencer, keys: KeyBuffer, multiplier: KeyMultiplier) -> None:
        """The counters look at both ends of the sequencer and of the key buffer, and at the core's own streams."""
        streams = {
            "key_pass": multiplier.codes,
            "key_beat": keys.i,
            "sent": sequencer.o,
            "query_tile": sequencer.query,
            "key_tile": sequencer.key,
            "output": self.output,
        }
        for name, each in streams.items():
            m.d.comb += [watched[name].valid.eq(each.valid), watched[name].ready.eq(each.ready)]
        m.d.comb += [
            *(watched.beat[name].eq(sequencer.o.payload[name]) for name in BEAT),
            watched.offered.eq(self.query.valid | self.token.valid | self.group.valid),
        ]
