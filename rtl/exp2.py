"""2**-x by bipartite tables: see golden.tables and golden.softmax."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from golden.config import Config, unsigned_bits
from golden.tables import EXP2_GUARD_BITS, exp2_tables
from rtl.streams import delay


def rom(m: Module, name: str, contents: NDArray[np.int64], address: Value) -> Value:
    """Combinational look-up in a table of non-negative numbers."""
    width = unsigned_bits(int(contents.max()))
    m.submodules[name] = table = memory.Memory(shape=unsigned(width), depth=len(contents), init=contents.tolist())
    port = table.read_port(domain="comb")
    m.d.comb += port.addr.eq(address)
    return port.data


class Exp2(wiring.Component):
    """prob = 2**-distance, rounded to prob_bits - 1 fraction bits; one per cycle of `enable`, latency 2."""

    latency = 2

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "enable": In(1),
                "distance": In(config.score_bits + 1),
                "prob": Out(config.prob_bits - 1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config, tables = self.config, exp2_tables(self.config)
        fraction = self.distance[: config.score_fraction_bits]
        integer = self.distance[config.score_fraction_bits :]
        high = fraction[tables.middle_bits + tables.low_bits :]
        coarse = rom(m, "coarse", tables.coarse, fraction[tables.low_bits :])
        fine = rom(m, "fine", tables.fine, Cat(fraction[: tables.low_bits], high))

        mantissa = Signal(len(coarse), reset_less=True)
        shift = Signal(range(config.prob_bits + 2), reset_less=True)
        with m.If(self.enable):
            m.d.sync += mantissa.eq(coarse - fine)
            # From prob_bits + 1 on nothing is left.
            m.d.sync += shift.eq(Mux(integer > config.prob_bits, config.prob_bits + 1, integer))
        rounded = ((mantissa >> (EXP2_GUARD_BITS - 1) >> shift) + 1) >> 1
        limited = Mux(rounded > config.prob_max, config.prob_max, rounded)
        m.d.comb += self.prob.eq(delay(m, self.enable, limited[: config.prob_bits - 1], 1, "limited"))
        return m
