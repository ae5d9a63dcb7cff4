"""Scores of estimates: products of pooled queries and pooled keys in base-2 logarithms. See golden.estimate.score."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config, signed_bits
from golden.formats import FORMATS
from golden.tables import FACTOR_BITS, RECIPROCAL_BITS
from rtl.adders import ADDERS, Term
from rtl.exp2 import rom
from rtl.pool import key_form, most_rows, pooled, query_form
from rtl.streams import delay, saturate
from rtl.trees import sum_stages

ALWAYS = Const(1)
"""Nothing holds up the pipeline from keys to masses: it ends in memories."""


def pooled_query(config: Config) -> data.StructLayout:
    """One pooled query, as the pool gives it; `last` ends the query tile."""
    return pooled(config, *query_form(config))


def pooled_key(config: Config) -> data.StructLayout:
    """One pooled key; `ends` says that it is its part's last one, `last` that it is the last of all.

    With `empty` it stands for a whole part none of whose keys is looked at; then only `last` means anything besides.
    """
    own = pooled(config, *key_form(config))
    fields = {name: own[name].shape for name in ("mantissa", "exponent", "size")}
    return data.StructLayout({**fields, "ends": 1, "empty": 1, "last": 1})


def power_bits(config: Config) -> int:
    """Bits of the exponent of what turns a product of vectors in their units into a base-2 score."""
    rows = 2 * FORMATS[config.float_format].bias + config.query_bits + config.input_bits
    return signed_bits(rows + config.head_dim.bit_length())  # the last is more than a scale of log2(e) / sqrt adds


def tree_stages(config: Config) -> int:
    """Registers of the tree that sums a dot product."""
    return sum_stages(config.head_dim, config.tree_fanin)


class EstimateScore(wiring.Component):
    """`keep` stores the `query` at `index`. Else the one stored there and the `key` are a pair, whose `score` is there
    `latency(config)` cycles later; one pair per cycle. A query that was kept in a cycle may be asked for in the next.

    The query's size goes into its gain once, the key's into every product.
    """

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles: read, multiply, add up, by both sizes and the factor, shift right, shift left."""
        return tree_stages(config) + 6

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "keep": In(1),
                "index": In(range(config.query_cells)),
                "query": In(pooled_query(config)),
                "key": In(pooled_key(config)),
                "factor": In(FACTOR_BITS),
                "power": In(signed(power_bits(config))),
                "score": Out(signed(config.estimate_bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        vector = self.query.mantissa.shape()
        m.submodules.queries = rows = memory.Memory(shape=vector.size, depth=config.query_cells, init=[])
        write, read = rows.write_port(), rows.read_port()
        m.d.comb += [
            write.en.eq(self.keep),
            write.addr.eq(self.index),
            write.data.eq(Value.cast(self.query.mantissa)),
            read.addr.eq(self.index),
        ]
        query, key = data.View(vector, read.data), delay(m, ALWAYS, self.key.mantissa, 1, "key")
        terms: list[Value] = [delay(m, ALWAYS, query[n] * key[n], 1, f"product_{n}") for n in range(config.head_dim)]
        bound, added = 1 << (2 * (config.pool_bits - 1)), 1
        for level in range(tree_stages(config)):
            added = min(added * config.tree_fanin, config.head_dim)
            groups = [terms[n : n + config.tree_fanin] for n in range(0, len(terms), config.tree_fanin)]
            terms = []
            for n, group in enumerate(groups):
                name, bits = f"sum_{level}_{n}", signed_bits(bound * added)
                total = ADDERS[config.adder](m, f"{name}_row", [Term(each) for each in group], 0, bits)
                terms.append(delay(m, ALWAYS, total, 1, name))

        # Where the binary point of the product is, seen from the last bit of a score; positive: shift left.
        stages = tree_stages(config) + 2
        exponent = self.key.exponent - self.length(m, "key", self.key.size)
        key_point = delay(m, ALWAYS, exponent, stages + 1, "key_point")
        gain, query_point = self.gains(m, delay(m, ALWAYS, self.index, stages, "asked"))
        constant = config.estimate_fraction_bits - (FACTOR_BITS - 1) - (RECIPROCAL_BITS - 3)
        point = delay(m, ALWAYS, query_point + key_point + self.power + constant, 1, "point")
        inverse = self.inverse(m, "key", delay(m, ALWAYS, self.key.size, stages, "key_size"))
        scaled = delay(m, ALWAYS, terms[0] * inverse, 1, "scaled")
        product = delay(m, ALWAYS, scaled * gain, 1, "product")
        bits = config.estimate_bits
        most = len(product) + 1  # a product shifted right by more is zero
        right, left = Signal(range(most + 1)), Signal(range(bits + 1))
        m.d.comb += right.eq(Mux(point >= 0, 0, Mux(point < -most, most, -point)))
        m.d.comb += left.eq(Mux(point < 0, 0, Mux(point > bits, bits, point)))
        rounded = (((product << 1) >> right) + 1) >> 1
        limited = delay(m, ALWAYS, saturate(rounded, signed(bits + 1)), 1, "limited")
        shifted = limited << delay(m, ALWAYS, left, 1, "left")
        m.d.comb += self.score.eq(delay(m, ALWAYS, saturate(shifted, signed(bits)), 1, "score"))
        return m

    def inverse(self, m: Module, name: str, size: Value) -> Value:
        """The mantissa of 1 / size: 1 / size = inverse * 2**-(RECIPROCAL_BITS - 2 + length)."""
        inverses = [
            ((1 << (RECIPROCAL_BITS - 2 + n.bit_length())) + (n >> 1)) // n
            for n in range(1, most_rows(self.config) + 1)
        ]
        return rom(m, f"{name}_inverse", np.array([0, *inverses]), size)

    def length(self, m: Module, name: str, size: Value) -> Value:
        """The bit length of a size."""
        lengths = [n.bit_length() for n in range(most_rows(self.config) + 1)]
        return rom(m, f"{name}_length", np.array(lengths), size)

    def gains(self, m: Module, asked: Value) -> tuple[Value, Value]:
        """The factor over the size of a query, as mantissa and exponent, in the cycle after it was `asked` for."""
        size = self.query.size
        inverse = delay(m, ALWAYS, self.inverse(m, "query", size), 1, "inverse")
        exponent = self.query.exponent - self.length(m, "query", size)
        half = 1 << (RECIPROCAL_BITS - 2)
        gain = ((self.factor * inverse + half) >> (RECIPROCAL_BITS - 1))[:FACTOR_BITS]
        layout = data.StructLayout({"gain": FACTOR_BITS, "point": exponent.shape()})
        m.submodules.gains = gains = memory.Memory(shape=layout, depth=self.config.query_cells, init=[])
        write, read = gains.write_port(), gains.read_port()
        m.d.comb += [
            write.en.eq(delay(m, ALWAYS, self.keep, 2, "gain_taken")),
            write.addr.eq(delay(m, ALWAYS, self.index, 2, "gain_index")),
            write.data.gain.eq(delay(m, ALWAYS, gain, 1, "gain")),
            write.data.point.eq(delay(m, ALWAYS, exponent, 2, "query_point")),
            read.addr.eq(asked),
        ]
        return read.data.gain, read.data.point
