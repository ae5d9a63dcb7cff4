"""Scores: the passes of q . k are added up, scaled, and become fixed-point base-2 logits. See golden.score."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from golden.formats import FORMATS
from rtl import layouts
from rtl.digits import weighing, weighted
from rtl.library import Named
from rtl.streams import delay, flow, saturate


class ScoreLane(wiring.Component):
    """The score of one key lane: accumulate over the passes, scale, shift right with rounding, shift left.

    `take` adds a dot product, of the weight of `digit`, to zero if `start`; all later stages move with `enable`.
    `exponent` and the scales belong to the dot product beside them.
    """

    latency = 4

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "enable": In(1),
                "take": In(1),
                "start": In(1),
                "digit": In(config.digit_index_bits),
                "dot": In(signed(config.key_dot_bits)),
                "exponent": In(FORMATS[config.float_format].exponent_bits),
                "key_mantissa": In(config.scale_bits),
                "key_exponent": In(signed(config.key_exponent_bits)),
                "scored": Out(signed(config.score_bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config, form = self.config, FORMATS[self.config.float_format]

        added = weighted(m, config, config.key_digit_step, self.dot, self.digit, "added")
        key_sum = Signal(signed(config.key_sum_bits), reset_less=True)
        with m.If(self.take):
            m.d.sync += key_sum.eq(Mux(self.start, 0, key_sum) + added)
        mantissa = delay(m, self.enable, self.key_mantissa, 1, "mantissa")
        # The binary point of the sum, seen from the last bit of a score: positive means shift left.
        constant = Const(config.score_fraction_bits - form.bias - (config.query_bits - 2))
        point = delay(m, self.enable, self.exponent + self.key_exponent + constant, 2, "point")

        product = delay(m, self.enable, key_sum * mantissa, 1, "product")
        most = len(product) + 1  # a product shifted right by more is zero
        right = Signal(unsigned(most.bit_length()))
        left = Signal(range(config.score_bits + 1))
        m.d.comb += right.eq(Mux(point >= 0, 0, Mux(point < -most, most, -point)))
        m.d.comb += left.eq(Mux(point < 0, 0, Mux(point > config.score_bits, config.score_bits, point)))
        rounded = (((product << 1) >> right) + 1) >> 1
        limited = delay(m, self.enable, saturate(rounded, signed(config.score_bits + 1)), 1, "limited")
        shifted = limited << delay(m, self.enable, left, 1, "left")
        m.d.comb += self.scored.eq(delay(m, self.enable, saturate(shifted, signed(config.score_bits)), 1, "shifted"))
        return m


class Score(wiring.Component):
    """i: products of the KeyMultiplier, o: `layouts.scored`, one for the passes of a lane group.

    One pass per cycle; latency 4 from the last pass.
    """

    latency = ScoreLane.latency

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {"i": In(stream.Signature(layouts.key_product(config))), "o": Out(stream.Signature(layouts.scored(config)))}
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        entering, tag = self.i.payload, self.i.payload.tag
        advance = flow(m, self.i.valid & tag.last_digit, self.o, self.latency)
        m.d.comb += self.i.ready.eq(advance)
        for n in range(self.config.lanes):
            lane = ScoreLane(self.config)
            m.submodules[f"lane_{n}"] = Named(lane, "score_lane")
            m.d.comb += [
                lane.enable.eq(advance),
                lane.take.eq(self.i.valid & advance),
                lane.start.eq(tag.digit == 0),
                lane.digit.eq(weighing(self.config, tag)),
                lane.dot.eq(entering.dot[n]),
                lane.exponent.eq(entering.operand_tag.exponent),
                lane.key_mantissa.eq(tag.scales[n].key_mantissa),
                lane.key_exponent.eq(tag.scales[n].key_exponent),
                self.o.payload.score[n].eq(lane.scored),
            ]
        beside = {"active": tag.active, "scales": tag.scales, "visit": tag.visit, "info": entering.operand_tag.info}
        for name, value in beside.items():
            m.d.comb += self.o.payload[name].eq(delay(m, advance, value, self.latency, name))
        return m
