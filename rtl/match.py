"""Matching of a query row with its reference, exactly: see golden.match.compare.

pair --> [held] --> slices --> (shift, round) --> (difference) --> (squares) --> (sums) --> gap, norm --> near
            |                        |
    [largest exponents] -----> [exponent]
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config, unsigned_bits
from golden.formats import FORMATS
from golden.tables import LIMIT_BITS
from rtl.align import mantissa, own_exponent
from rtl.streams import delay, flow
from rtl.trees import largest, registered_sum, sum_stages


def pair(config: Config) -> data.StructLayout:
    """A query row and the row whose result it might take."""
    words = data.ArrayLayout(FORMATS[config.float_format].bits, config.head_dim)
    return data.StructLayout({"row": words, "reference": words})


def matched(config: Config) -> data.StructLayout:
    """Whether the row is reused, and the exact squares that say so: |row - reference|**2 and |row|**2.

    They are 1 and 0 for a pair that is not finite.
    """
    most = (1 << (config.match_bits - 1)) - 1
    return data.StructLayout(
        {
            "near": 1,
            "gap": unsigned_bits((2 * most) ** 2 * config.head_dim),
            "norm": unsigned_bits(most**2 * config.head_dim),
        }
    )


class Match(wiring.Component):
    """i: `pair`, o: `matched`. A pair takes head_dim / channels cycles; latency `latency`.

    In a cycle `channels` differences and as many elements are squared.
    """

    def __init__(self, config: Config, channels: int = 16) -> None:
        if config.head_dim % channels:
            raise ValueError(f"channels = {channels}: must be a divisor of config.head_dim = {config.head_dim}")
        self.config, self.form, self.channels = config, FORMATS[config.float_format], channels
        self.chunks = config.head_dim // channels
        self.sum_stages = sum_stages(channels, config.tree_fanin)
        super().__init__({"i": In(stream.Signature(pair(config))), "o": Out(stream.Signature(matched(config)))})

    @property
    def latency(self) -> int:
        """Cycles from a pair to its result."""
        return self.chunks + self.chunk_latency

    @property
    def chunk_latency(self) -> int:
        """Cycles from choosing the last channels to the result: four to their squares, their sum, three from there."""
        return 4 + self.sum_stages + 3

    def elaborate(self, platform) -> Module:
        m = Module()
        config, form, out = self.config, self.form, self.o.payload
        busy, chunk = Signal(), Signal(unsigned_bits(self.chunks - 1))
        last = chunk == self.chunks - 1
        advance = flow(m, busy & last, self.o, self.chunk_latency)
        m.d.comb += self.i.ready.eq(advance & (~busy | last))
        with m.If(advance & busy):
            m.d.sync += chunk.eq(Mux(last, 0, chunk + 1))
        with m.If(self.i.ready):
            m.d.sync += busy.eq(self.i.valid)
        held = delay(m, self.i.ready, self.i.payload, 1, "held")
        own = []
        for name in ("row", "reference"):
            exponent = largest(m, f"{name}_own", [own_exponent(form, each) for each in self.i.payload[name]])
            own.append(delay(m, self.i.ready, exponent, 1, f"{name}_exponent"))

        exponent = delay(m, advance, largest(m, "shared", own), 1, "exponent")
        here, there = (
            self.chosen(m, advance, words, chunk, exponent, side)
            for side, words in enumerate((held.row, held.reference))
        )
        differences = [a - b for a, b in zip(here, there, strict=True)]
        differences = [delay(m, advance, each, 1, f"difference_{n}") for n, each in enumerate(differences)]
        here = [delay(m, advance, element, 1, f"here_{n}") for n, element in enumerate(here)]

        before = 4 + self.sum_stages  # cycles from choosing channels to the sum of their squares
        begins = delay(m, advance, chunk == 0, before, "begins")
        invalid = delay(m, advance, exponent == form.exponent_max, before, "invalid")
        gap = Mux(invalid, 1, self.total(m, advance, differences, begins, out.gap.shape().width, "gap"))
        norm = Mux(invalid, 0, self.total(m, advance, here, begins, out.norm.shape().width, "norm"))
        limit = Const(round(config.reuse_distance**2 * (1 << LIMIT_BITS)))
        bound = delay(m, advance, norm * limit, 1, "bound")
        gap, norm = delay(m, advance, gap, 1, "gap"), delay(m, advance, norm, 1, "norm")
        with m.If(advance):
            m.d.sync += [out.near.eq((gap << LIMIT_BITS) < bound), out.gap.eq(gap), out.norm.eq(norm)]
        return m

    def chosen(self, m: Module, advance: Value, words, chunk: Value, exponent: Value, side: int) -> list[Value]:
        """Elements [channels] of a chunk of a row, aligned to the exponent, which comes a cycle later; two cycles."""
        bits, size = self.config.match_bits, self.form.bits
        starts = range(0, self.config.head_dim, self.channels)
        chunks = Array(Cat(words[start + n] for n in range(self.channels)) for start in starts)
        chosen = delay(m, advance, chunks[chunk], 1, f"chosen_{side}")
        aligned = []
        for n in range(self.channels):
            element = Signal(signed(bits), name=f"element_{side}_{n}", reset_less=True)
            word = chosen[n * size : (n + 1) * size]
            value = mantissa(m, self.form, bits, word, exponent, side * self.channels + n)
            with m.If(advance):
                m.d.sync += element.eq(value)
            aligned.append(element)
        return aligned

    def total(self, m: Module, advance: Value, values: list[Value], begins: Value, bits: int, name: str) -> Value:
        """The sum of the squares of all chunks from the one that `begins`."""
        squares = [
            delay(m, advance, (value * value)[: 2 * (len(value) - 1)], 1, f"{name}_square_{n}")
            for n, value in enumerate(values)
        ]
        added = registered_sum(m, advance, squares, self.config.tree_fanin, f"{name}_sum")
        total = Signal(bits, name=f"{name}_total", reset_less=True)
        with m.If(advance):
            m.d.sync += total.eq(Mux(begins, 0, total) + added)
        return total
