"""Online base-2 softmax of a lane group against the row's running integer maximum: see golden.softmax."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from rtl import layouts
from rtl.exp2 import Exp2
from rtl.library import Named
from rtl.streams import delay, flow
from rtl.trees import balanced_sum, largest


class SoftmaxLane(wiring.Component):
    """One lane behind the maximum: the probability and, two cycles later, the weight."""

    latency = Exp2.latency + 3

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "enable": In(1),
                "active": In(1),
                "score": In(signed(config.score_bits)),
                "running_max": In(signed(config.running_max_bits)),
                "value_mantissa": In(config.scale_bits),
                "value_shift": In(config.value_exponent_bits),
                "prob": Out(config.prob_bits - 1),
                "weight": Out(config.prob_bits - 1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        m.submodules.exp2 = exp2 = Exp2(config)
        # Never negative in an active lane; an inactive one is set to zero below.
        distance = ((self.running_max << config.score_fraction_bits) - self.score)[: config.score_bits + 1]
        m.d.comb += exp2.enable.eq(self.enable)
        m.d.comb += exp2.distance.eq(delay(m, self.enable, distance, 1, "distance"))
        active = delay(m, self.enable, self.active, 1 + exp2.latency, "active")
        m.d.comb += self.prob.eq(Mux(active, exp2.prob, 0))

        mantissa = delay(m, self.enable, self.value_mantissa, 1 + exp2.latency, "mantissa")
        scaled = delay(m, self.enable, self.prob * mantissa, 1, "scaled")
        shift = delay(m, self.enable, self.value_shift, 2 + exp2.latency, "shift")
        weight = ((scaled >> (config.scale_bits - 1) >> shift) + 1) >> 1
        m.d.comb += self.weight.eq(delay(m, self.enable, weight[: config.prob_bits - 1], 1, "rounded"))
        return m


class Softmax(wiring.Component):
    """i: `layouts.scored`, o: operands of the ValueMultiplier. One lane group per cycle, latency 7.

    The running maximum of the row at work is in a register, those of the other rows in a memory.
    """

    latency = 2 + SoftmaxLane.latency

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(layouts.scored(config))),
                "o": Out(stream.Signature(layouts.value_operand(config))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        advance = flow(m, self.i.valid, self.o, self.latency)
        m.d.comb += self.i.ready.eq(advance)
        least = -(1 << (config.score_bits - 1))

        scores = [Mux(self.i.payload.active[n], self.i.payload.score[n], least) for n in range(config.lanes)]
        group_max = delay(m, advance, largest(m, "largest", scores), 1, "group_max")
        present = Signal()
        with m.If(advance):
            m.d.sync += present.eq(self.i.valid)
        visit = delay(m, advance, self.i.payload.visit, 1, "visit")
        running_max, rescale = self.running_max(m, advance & present, group_max, visit)

        lanes = [SoftmaxLane(config) for _ in range(config.lanes)]
        held = delay(m, advance, self.i.payload, 2, "held")
        for n, lane in enumerate(lanes):
            m.submodules[f"lane_{n}"] = Named(lane, "softmax_lane")
            m.d.comb += [
                lane.enable.eq(advance),
                lane.active.eq(held.active[n]),
                lane.score.eq(held.score[n]),
                lane.running_max.eq(running_max),
                lane.value_mantissa.eq(held.scales[n].value_mantissa),
                lane.value_shift.eq(held.scales[n].value_shift),
                self.o.payload.mantissa[n].eq(lane.weight),
            ]
        prob_sum = balanced_sum([lane.prob for lane in lanes])
        m.d.comb += [
            self.o.payload.tag.rescale.eq(delay(m, advance, rescale, SoftmaxLane.latency, "rescale")),
            self.o.payload.tag.prob_sum.eq(delay(m, advance, prob_sum, 2, "prob_sum")),
            self.o.payload.tag.info.eq(delay(m, advance, held.info, SoftmaxLane.latency, "info")),
        ]
        return m

    def running_max(self, m: Module, enable: Value, group_max: Value, visit) -> tuple[Signal, Signal]:
        """The second stage: registers of the running maximum and of the shift that its rise asks for."""
        config = self.config
        shape = signed(config.running_max_bits)
        m.submodules.rows = rows = memory.Memory(shape=shape, depth=config.query_rows, init=[])
        read, write = rows.read_port(domain="comb"), rows.write_port()
        running_max, rescale = Signal(shape, reset_less=True), Signal(config.rescale_bits, reset_less=True)

        before, after, ceiling = Signal(shape), Signal(shape), Signal(shape)
        rise = Signal(unsigned(config.running_max_bits))
        initial = -(1 << (config.score_integer_bits - 1))
        m.d.comb += [
            read.addr.eq(visit.row),
            before.eq(Mux(~visit.start, running_max, Mux(visit.first, initial, read.data))),
            ceiling.eq((group_max + ((1 << config.score_fraction_bits) - 1)) >> config.score_fraction_bits),
            after.eq(Mux(ceiling > before, ceiling, before)),
            rise.eq(after - before),
            write.addr.eq(visit.row),
            write.data.eq(after),
            write.en.eq(enable & visit.end),
        ]
        with m.If(enable):
            m.d.sync += running_max.eq(after)
            m.d.sync += rescale.eq(Mux(rise > config.output_sum_bits, config.output_sum_bits, rise))
        return running_max, rescale
