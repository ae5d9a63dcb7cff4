"""Accumulation of p . v and of p over the lane groups of a row: see golden.accumulate."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from rtl import layouts
from rtl.digits import weighing, weighted
from rtl.library import Named
from rtl.streams import delay, flow


class AccumulateLane(wiring.Component):
    """The sum of one channel: what came before, rescaled, plus the dot product of a pass. Combinational."""

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "before": In(signed(config.output_sum_bits)),
                "rescale": In(config.rescale_bits),
                "digit": In(config.digit_index_bits),
                "dot": In(signed(config.value_dot_bits)),
                "after": Out(signed(config.output_sum_bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        added = weighted(m, self.config, self.config.value_digit_step, self.dot, self.digit, "added")
        m.d.comb += self.after.eq((self.before >> self.rescale) + added)
        return m


class Accumulate(wiring.Component):
    """i: products of the ValueMultiplier, o: `layouts.finished`, one for each row, after its last key tile.

    One pass per cycle; latency 2 from the last pass. The sums of the row at work are in registers, those of the
    other rows in a memory, which is read while a row's first pass waits in the input register.
    """

    latency = 2

    def __init__(self, config: Config) -> None:
        self.config = config
        products, finished = layouts.value_product(config), layouts.finished(config)
        super().__init__({"i": In(stream.Signature(products)), "o": Out(stream.Signature(finished))})

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        sums_layout = layouts.row_sums(config)
        m.submodules.rows = rows = memory.Memory(shape=sums_layout.size, depth=config.query_rows, init=[])
        read, write = rows.read_port(), rows.write_port()

        entering = self.i.payload.tag
        ends_row = entering.last_digit & entering.visit.end & entering.visit.final
        advance = flow(m, self.i.valid & ends_row, self.o, self.latency)
        m.d.comb += [self.i.ready.eq(advance), read.addr.eq(entering.visit.row), read.en.eq(advance)]

        present = Signal()
        with m.If(advance):
            m.d.sync += present.eq(self.i.valid)
        beat = delay(m, advance, self.i.payload, 1, "beat")
        visit, tag = beat.tag.visit, beat.operand_tag
        begins = beat.tag.digit == 0

        sums = Signal(sums_layout, reset_less=True)
        sums_row = Signal.like(visit.row, reset_less=True)
        stored = Signal(sums_layout)
        before, after = Signal(sums_layout), Signal(sums_layout)
        rescale = Signal.like(tag.rescale)
        m.d.comb += [
            Value.cast(stored).eq(read.data),
            # The registers are newer than the memory if the row did not change.
            before.eq(Mux(visit.row == sums_row, Value.cast(sums), Value.cast(stored))),
            rescale.eq(Mux(begins, tag.rescale, 0)),
            after.prob_total.eq((before.prob_total >> rescale) + Mux(begins, tag.prob_sum, 0)),
            write.addr.eq(visit.row),
            write.data.eq(Value.cast(after)),
            write.en.eq(present & advance & visit.end & beat.tag.last_digit),
        ]
        with m.If(visit.first & visit.start & begins):
            m.d.comb += before.eq(0)
        with m.If(advance & present):
            m.d.sync += [sums.eq(after), sums_row.eq(visit.row), self.o.payload.info.eq(tag.info)]
        m.d.comb += self.o.payload.sums.eq(sums)

        for n in range(config.head_dim):
            lane = AccumulateLane(config)
            m.submodules[f"lane_{n}"] = Named(lane, "accumulate_lane")
            m.d.comb += [
                lane.before.eq(before.output_sum[n]),
                lane.rescale.eq(rescale),
                lane.digit.eq(weighing(config, beat.tag)),
                lane.dot.eq(beat.dot[n]),
                after.output_sum[n].eq(lane.after),
            ]
        return m
