"""Estimates: the ranks of parts of the keys under some pooled queries. See golden.estimate."""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Array, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from golden.tables import FACTOR_BITS, log2_table, mass_table
from rtl.estimate_score import ALWAYS, EstimateScore, pooled_key, pooled_query, power_bits
from rtl.exp2 import rom
from rtl.rounding import leading
from rtl.streams import delay, flow, saturate
from rtl.trees import largest


def ranked(config: Config) -> data.StructLayout:
    """The rank of one part; `last` belongs to the last one."""
    return data.StructLayout({"rank": signed(config.rank_bits), "last": 1})


def depth(config: Config) -> int:
    """Parts whose largest scores are stored: there are no more pieces, and fewer frames that key tiles begin in."""
    return -(-config.max_tokens // config.piece)


def latency(config: Config) -> int:
    """Cycles from the last key to the first rank, with a single query."""
    return EstimateScore.latency(config) + 9


class Pair(NamedTuple):
    """A pooled query and a pooled key on their way through the pipeline: whether they are there, and what they are."""

    valid: Signal
    tag: data.View

    def later(self, m: Module, cycles: int, name: str) -> Pair:
        """The pair some cycles later."""
        valid = self.valid
        for n in range(cycles):
            register = Signal(name=f"{name}_valid_{n + 1}")
            m.d.sync += register.eq(valid)
            valid = register
        return Pair(valid, delay(m, ALWAYS, self.tag, cycles, f"{name}_tag"))


class Estimate(wiring.Component):
    """Ranks the parts of the keys: for each the largest, over the queries, of its largest score less log_mass.

    Streams: `query`, the 1 to query_cells pooled queries of a query tile, which are kept; `key`, every pooled key, part
    by part, and a beat for every part without any; `o`, the rank of every part, in order. `factor`, the mantissa, and
    `power` are golden's scale: they must stay from the first query to the last rank.

    The largest scores of each part, one for each query, wait in a word of a memory for the masses, which only the last
    key completes. It holds `depth` parts.

    One product of vectors a cycle. The running maximum and the mass of a query are each updated in a single cycle, so
    that a key takes as many cycles as there are queries, be it one. In cycles, without stalls:

        queries                                 to take the queries,
        keys * queries + (parts without keys)   to take the keys; a last beat without keys takes as many as a key,
        latency(config)                         from there to the first rank,
        1                                       from one part's rank to that of the next.

    The next query is taken in the cycle after the last rank left.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "query": In(stream.Signature(pooled_query(config))),
                "key": In(stream.Signature(pooled_key(config))),
                "factor": In(FACTOR_BITS),
                "power": In(signed(power_bits(config))),
                "o": Out(stream.Signature(ranked(config))),
            }
        )

    def tag(self) -> data.StructLayout:
        """What travels beside a pair of a query and a key."""
        return data.StructLayout(
            {
                "query": range(self.config.query_cells),
                "size": pooled_key(self.config)["size"].shape,
                "fresh": 1,  # the query's first key
                "begins": 1,  # the part's first key
                "ends": 1,
                "empty": 1,
                "last": 1,
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.loading, self.ranking = Signal(), Signal()
        self.index, self.top = (Signal(range(self.config.query_cells), name=name) for name in ("index", "top"))
        """the query at work, and the last one"""
        looking, finished = Signal(), Signal()
        final = self.index == self.top
        # What has no keys is done at once, but the last beat shows every query the end.
        single = self.key.payload.empty & ~self.key.payload.last
        key_taken, query_taken = self.key.valid & self.key.ready, self.query.valid & self.query.ready
        m.d.comb += [
            self.query.ready.eq(self.loading),
            self.key.ready.eq(looking & (final | single)),
        ]
        with m.If(query_taken):
            m.d.sync += self.index.eq(Mux(self.query.payload.last, 0, self.index + 1))
            m.d.sync += self.top.eq(self.index)
        with m.If(looking & self.key.valid & ~single):
            m.d.sync += self.index.eq(Mux(final, 0, self.index + 1))

        pair = self.issue(m, looking, key_taken)
        m.submodules.score = score = EstimateScore(self.config)
        m.d.comb += [
            score.keep.eq(query_taken),
            score.index.eq(self.index),
            score.query.eq(self.query.payload),
            score.key.eq(self.key.payload),
            score.factor.eq(self.factor),
            score.power.eq(self.power),
        ]
        pair = pair.later(m, score.latency(self.config), "scored")
        self.masses(m, pair, score.score, finished)
        self.maxima(m, pair, score.score)
        self.ranks(m)
        with m.FSM():
            with m.State("queries"):
                m.d.comb += self.loading.eq(1)
                with m.If(query_taken & self.query.payload.last):
                    m.next = "keys"
            with m.State("keys"):
                m.d.comb += looking.eq(1)
                with m.If(key_taken & self.key.payload.last):
                    m.next = "masses"
            with m.State("masses"), m.If(finished):
                m.next = "ranks"
            with m.State("ranks"):
                m.d.comb += self.ranking.eq(1)
                with m.If(self.o.valid & self.o.ready & self.o.payload.last):
                    m.next = "queries"
        return m

    def issue(self, m: Module, looking: Value, key_taken: Value) -> Pair:
        """The pair whose query is read now."""
        key = self.key.payload
        fresh, begins = Signal(), Signal()
        with m.If(self.loading):
            m.d.sync += [fresh.eq(1), begins.eq(1)]
        with m.If(key_taken):
            m.d.sync += begins.eq(key.ends | key.empty)
            with m.If(~key.empty):
                m.d.sync += fresh.eq(0)
        pair = Pair(Signal(name="valid"), Signal(self.tag(), name="tag"))
        m.d.comb += [
            pair.valid.eq(looking & self.key.valid),
            pair.tag.query.eq(self.index),
            pair.tag.fresh.eq(fresh),
            pair.tag.begins.eq(begins),
            *(pair.tag[name].eq(key[name]) for name in ("size", "ends", "empty", "last")),
        ]
        return pair

    def per_query(self, m: Module, name: str, shape: Shape, asked: Value) -> tuple[Value, memory.WritePort]:
        """A number for every query: that of the one `asked` for, at once, and the port to write them."""
        m.submodules[name] = numbers = memory.Memory(shape=shape, depth=self.config.query_cells, init=[])
        read, write = numbers.read_port(domain="comb"), numbers.write_port()
        m.d.comb += read.addr.eq(asked)
        return read.data, write

    def masses(self, m: Module, pair: Pair, score: Value, finished: Signal) -> None:
        """Sums up the masses of the queries against running maxima; after the last key, their logarithms."""
        config, fraction = self.config, self.config.estimate_fraction_bits
        tag = pair.tag
        # The scores' integer parts, rounded up; what is left of a distance to an integer is the score's own.
        ceiling = (score + ((1 << fraction) - 1)) >> fraction
        stored, write = self.per_query(m, "running", signed(len(ceiling)), tag.query)
        power = rom(m, "powers", mass_table(config), (-score)[:fraction])
        most = len(power) + len(tag.size)  # a mass shifted right by more is zero
        before, difference = Signal.like(stored), Signal(signed(len(stored) + 1))
        raised = Mux(tag.empty | (difference < 0), before, ceiling)
        rise, behind = Signal(range(config.mass_total_bits + 1)), Signal(range(most + 1))
        m.d.comb += [
            before.eq(Mux(tag.fresh, -(1 << (config.estimate_integer_bits - 1)), stored)),
            difference.eq(ceiling - before),
            write.en.eq(pair.valid & ~tag.empty),
            write.addr.eq(tag.query),
            write.data.eq(raised),
        ]
        with m.If(difference >= 0):
            m.d.comb += rise.eq(Mux(difference > config.mass_total_bits, config.mass_total_bits, difference))
        with m.Else():
            m.d.comb += behind.eq(Mux(difference < -most, most, -difference))

        pair = pair.later(m, 1, "weighed")
        weighted = delay(m, ALWAYS, delay(m, ALWAYS, power, 1, "power") * pair.tag.size, 1, "weighted")
        mass = delay(m, ALWAYS, weighted >> delay(m, ALWAYS, behind, 2, "behind"), 1, "mass")
        rise = delay(m, ALWAYS, rise, 3, "rise")
        pair = pair.later(m, 2, "summed")
        tag = pair.tag
        stored, write = self.per_query(m, "totals", unsigned(config.mass_total_bits), tag.query)
        total, after = Signal.like(stored), Signal.like(stored)
        m.d.comb += [
            total.eq(Mux(tag.fresh, 0, stored)),
            after.eq(Mux(tag.empty, total, (total >> rise) + mass)),
            write.en.eq(pair.valid & ~tag.empty),
            write.addr.eq(tag.query),
            write.data.eq(after),
        ]

        mantissa, length = leading(m, delay(m, ALWAYS, after, 1, "mass_total"), fraction + 1, "total")
        whole = delay(m, ALWAYS, raised, 4, "raised") + length - (1 + config.mass_bits)
        whole, mantissa = delay(m, ALWAYS, whole, 1, "whole"), delay(m, ALWAYS, mantissa, 1, "mantissa")
        log_mass = (whole << fraction) + rom(m, "logarithms", log2_table(config), mantissa[:fraction])
        pair = pair.later(m, 2, "logarithm")
        self.log_masses = Signal(data.ArrayLayout(log_mass.shape(), config.query_cells))
        m.d.comb += finished.eq(pair.valid & pair.tag.last & (pair.tag.query == self.top))
        for n in range(config.query_cells):
            with m.If(pair.valid & pair.tag.last & (pair.tag.query == n)):
                m.d.sync += self.log_masses[n].eq(log_mass)

    def maxima(self, m: Module, pair: Pair, score: Value) -> None:
        """Stores the largest scores of parts, those under all queries in one word."""
        tag, count = pair.tag, self.config.query_cells
        scores = data.ArrayLayout(signed(len(score)), count)
        so_far, now = Signal(scores), Signal(scores)
        raised = tag.begins | (score > Array(so_far[n] for n in range(count))[tag.query])
        m.d.comb += [now[n].eq(Mux((tag.query == n) & raised, score, so_far[n])) for n in range(count)]
        with m.If(pair.valid):
            m.d.sync += so_far.eq(now)
        layout = data.StructLayout({"scores": scores, "empty": 1})
        m.submodules.maxima = maxima = memory.Memory(shape=layout, depth=depth(self.config), init=[])
        store, self.read = maxima.write_port(), maxima.read_port()
        self.stored = Signal(range(depth(self.config) + 1))
        m.d.comb += [
            store.en.eq(pair.valid & Mux(tag.empty, tag.query == 0, tag.ends & (tag.query == self.top))),
            store.addr.eq(self.stored),
            store.data.scores.eq(now),
            store.data.empty.eq(tag.empty),
        ]
        with m.If(self.loading):
            m.d.sync += self.stored.eq(0)
        with m.Elif(store.en):
            m.d.sync += self.stored.eq(self.stored + 1)

    def ranks(self, m: Module) -> None:
        """Reads the stored scores again: the largest of a part, less log_mass, of all queries at once."""
        out, word, rank = self.o.payload, self.read.data, signed(self.config.rank_bits)
        unseen = -(1 << (self.config.rank_bits - 1))
        place, present = Signal.like(self.stored), Signal()
        advance = flow(m, present, self.o, 2)
        reading = self.ranking & (place != self.stored)
        m.d.comb += [self.read.addr.eq(place), self.read.en.eq(advance)]
        with m.If(self.loading):
            m.d.sync += place.eq(0)
        with m.Elif(advance):
            m.d.sync += [present.eq(reading), place.eq(place + reading)]

        # The first query is always there: others are left out as if they were as far from the key as can be.
        log_ranks = []
        for n in range(self.config.query_cells):
            absent = word.empty | (self.top < n) if n else word.empty
            log_rank = Mux(absent, unseen, word.scores[n] - self.log_masses[n])
            log_ranks.append(delay(m, advance, log_rank, 1, f"log_rank_{n}"))
        last = delay(m, advance, place == self.stored, 1, "last")
        with m.If(advance):
            m.d.sync += [out.rank.eq(saturate(largest(m, "rank", log_ranks), rank)), out.last.eq(last)]
