"""Preparation: raw keys and values become tokens of the core and pooled keys of speculation. See golden.prepare.

key ----> measure, centre -+-> quantise --> prepared
                           +-> pool ------> cells
                           +-> pool ------> tiles
value --> measure, centre ---> quantise --> prepared
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.config import Config
from golden.formats import FORMATS
from golden.tables import ONE
from rtl import layouts
from rtl.centre import Centre, centred_row
from rtl.head import head, measured, pooled, prepared
from rtl.library import Named
from rtl.places import Places, place
from rtl.pool import Pool
from rtl.quantise import Quantise, exponent_bits
from rtl.query_pools import pooled_at
from rtl.statistics import Statistics
from rtl.streams import Fork, tagged


class Side(wiring.Component):
    """Keys or values: a first pass over a head's rows finds their statistics, a second one centres and rotates them.

    i: every head's rows, twice; o: its centred rows; `found`: its statistics, which are taken when the second pass may
    begin. They stay in `known` until the next head's are taken.
    """

    def __init__(self, config: Config) -> None:
        self.config, self.statistics, self.centre = config, Statistics(config), Centre(config, config.prepare_stages)
        known = self.statistics.o.payload.shape()
        super().__init__(
            {
                "i": In(stream.Signature(layouts.row(config))),
                "o": Out(stream.Signature(centred_row(config))),
                "found": Out(stream.Signature(known)),
                "known": Out(known),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        statistics, centre = self.statistics, self.centre
        m.submodules.statistics = Named(statistics, "statistics")
        m.submodules.centre = Named(centre, "centre")
        connect(m, statistics.o, flipped(self.found))
        connect(m, centre.o, flipped(self.o))
        m.d.comb += [
            Value.cast(statistics.i.payload).eq(Value.cast(self.i.payload)),
            Value.cast(centre.i.payload).eq(Value.cast(self.i.payload)),
            centre.exponent.eq(self.known.exponent),
            Value.cast(centre.mean).eq(Value.cast(self.known.mean)),
        ]
        with m.If(self.found.valid & self.found.ready):
            m.d.sync += Value.cast(self.known).eq(Value.cast(self.found.payload))
        last = self.i.valid & self.i.ready & self.i.payload.last
        with m.FSM():
            with m.State("measure"):
                m.d.comb += [statistics.i.valid.eq(self.i.valid), self.i.ready.eq(statistics.i.ready)]
                with m.If(last):
                    m.next = "wait"
            with m.State("wait"), m.If(self.found.valid & self.found.ready):
                m.next = "prepare"
            with m.State("prepare"):
                m.d.comb += [centre.i.valid.eq(self.i.valid), self.i.ready.eq(centre.i.ready)]
                with m.If(last):
                    m.next = "measure"
        return m


class Prepare(wiring.Component):
    """Streams: `head`, a word for every head; `key` and `value`, its rows, twice; `measured`, a word for every head,
    before any of its tokens; `prepared`, its tokens; `cells` and `tiles`, its pooled keys.

    The second pass begins when the first has ended on both sides and no token of the head before is on its way. A row
    then takes as many cycles as the slowest part: see Centre and Quantise.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "head": In(stream.Signature(head(config))),
                "key": In(stream.Signature(layouts.row(config))),
                "value": In(stream.Signature(layouts.row(config))),
                "measured": Out(stream.Signature(measured(config))),
                "prepared": Out(stream.Signature(prepared(config))),
                "cells": Out(stream.Signature(pooled(config))),
                "tiles": Out(stream.Signature(pooled(config))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        m.submodules.key_side, m.submodules.value_side = keys, values = Side(config), Side(config)
        connect(m, flipped(self.key), keys.i)
        connect(m, flipped(self.value), values.i)

        # A head begins: its statistics replace those of the one before, whose last token has left.
        current, ended, begin = Signal(head(config)), Signal(init=1), Signal()
        left = self.prepared.valid & self.prepared.ready
        m.d.comb += [
            begin.eq(ended & self.head.valid & keys.found.valid & values.found.valid),
            self.head.ready.eq(begin),
            keys.found.ready.eq(begin),
            values.found.ready.eq(begin),
        ]
        with m.If(left & self.prepared.payload.head_last):
            m.d.sync += ended.eq(1)
        with m.If(begin):
            m.d.sync += [ended.eq(0), Value.cast(current).eq(Value.cast(self.head.payload))]

        key_codes, value_codes = self.key_codes(m, current, keys), self.value_codes(m, values, begin)
        self.join(m, keys, key_codes, values, value_codes)
        return m

    def key_codes(self, m: Module, current: data.View, keys: Side) -> tuple[Quantise, fifo.SyncFIFO, Signal]:
        """Keys go three ways: to their codes and to two pools, each row with its place. Returns the codes' stream."""
        config = self.config
        m.submodules.places = places = Places(config, config.tile)
        placed = data.StructLayout({"vector": centred_row(config)["vector"].shape, "place": place(config)})
        m.submodules.fork = fork = Fork(placed, 3)
        m.d.comb += [
            places.step.eq(keys.o.valid & keys.o.ready),
            places.last.eq(keys.o.payload.last),
            places.tokens.eq(current.tokens),
            fork.i.valid.eq(keys.o.valid),
            keys.o.ready.eq(fork.i.ready),
            Value.cast(fork.i.payload.vector).eq(Value.cast(keys.o.payload.vector)),
            fork.i.payload.place.eq(places.here),
        ]
        for name, consumer, end in (("cells", fork.o[1], "cell_end"), ("tiles", fork.o[2], "tile_end")):
            pool = Pool(config, config.rotated_bits, None)
            m.submodules[f"pool_{name}"] = Named(pool, "key_pool")
            rows, here = consumer.payload, consumer.payload.place
            m.d.comb += [
                Value.cast(pool.i.payload.vector).eq(Value.cast(rows.vector)),
                pool.i.payload.ends.eq(here[end]),
                pool.i.payload.last.eq(here.last),
            ]
            beside = tagged(m, f"{name}_places", consumer, pool.i, here, here[end])
            pooled_at(m, config, pool, beside, getattr(self, name), "piece_end" if name == "cells" else "frame_end")

        quantise = Quantise(config, config.key_digit_step, config.prepare_channels)
        m.submodules.key_quantise = Named(quantise, "key_quantise")
        rows = fork.o[0].payload
        power = Signal(signed(exponent_bits(config)))
        m.d.comb += [
            Value.cast(quantise.i.payload.vector).eq(Value.cast(rows.vector)),
            quantise.factor.eq(current.factor),
            power.eq(self.unit_power(keys.known.exponent) + current.factor_exponent),
            quantise.least.eq(Const(-(1 << (config.key_exponent_bits - 1))) - power),
        ]
        # The slower of key and value waits at its end with all that it holds.
        under_way = -(-quantise.latency // quantise.chunks) + 1
        beside = tagged(m, "token_places", fork.o[0], quantise.i, rows.place, Const(1), under_way)
        return quantise, beside, power

    def value_codes(self, m: Module, values: Side, begin: Signal) -> tuple[Quantise, Signal, Signal]:
        """Before a head's values comes a row with the largest value there can be: its exponent is the `top` one."""
        config = self.config
        quantise = Quantise(config, config.value_digit_step, config.prepare_channels)
        m.submodules.value_quantise = Named(quantise, "value_quantise")
        bound, pending = Signal(), Signal()  # the row is to be sent; its exponent has not come yet
        top = Signal.like(quantise.o.payload.exponent)
        reach = (values.known.reach >> config.rotation_shift) + 1
        most = Mux(reach > config.rotated_max, config.rotated_max, reach)
        with m.If(bound):
            m.d.comb += [quantise.i.valid.eq(1), quantise.i.payload.vector[0].eq(most)]
        with m.Elif(~pending):
            m.d.comb += [
                quantise.i.valid.eq(values.o.valid),
                values.o.ready.eq(quantise.i.ready),
                Value.cast(quantise.i.payload).eq(Value.cast(values.o.payload)),
            ]
        # No output exponent is less than its field can hold.
        unit = self.unit_power(values.known.exponent) + config.scale_bits
        lowest = Const(-(1 << (config.output_exponent_bits - 1))) - unit
        m.d.comb += [
            quantise.factor.eq(ONE),
            quantise.least.eq(Mux(pending, lowest, top - ((1 << config.value_exponent_bits) - 1))),
        ]
        with m.If(quantise.i.valid & quantise.i.ready):
            m.d.sync += bound.eq(0)
        with m.If(begin):
            m.d.sync += [bound.eq(1), pending.eq(1)]
        return quantise, top, pending

    def join(self, m: Module, keys: Side, key_codes, values: Side, value_codes) -> None:
        """Codes and scales of a key and of its value are a token; the top exponent goes into `measured`."""
        config = self.config
        (key, beside, power), (value, top, pending) = key_codes, value_codes
        here = data.View(place(config), beside.r_data)
        token, o = self.prepared.payload.token, self.prepared
        m.d.comb += [
            o.valid.eq(key.o.valid & value.o.valid & ~pending),
            key.o.ready.eq(o.valid & o.ready),
            beside.r_en.eq(o.valid & o.ready),
            Value.cast(token.key).eq(Value.cast(key.o.payload.codes)),
            Value.cast(token.value).eq(Value.cast(value.o.payload.codes)),
            token.scales.key_mantissa.eq(key.o.payload.mantissa),
            token.scales.key_exponent.eq(key.o.payload.exponent + power),
            token.scales.value_mantissa.eq(value.o.payload.mantissa),
            token.scales.value_shift.eq(top - value.o.payload.exponent),
            token.last.eq(here.tile_end),
            o.payload.head_last.eq(here.last),
        ]
        found = self.measured.payload
        m.d.comb += [
            found.key_exponent.eq(keys.known.exponent),
            found.value_exponent.eq(values.known.exponent),
            Value.cast(found.value_mean).eq(Value.cast(values.known.mean)),
            found.output_exponent.eq(
                value.o.payload.exponent + config.scale_bits + self.unit_power(values.known.exponent)
            ),
            self.measured.valid.eq(pending & value.o.valid),
            value.o.ready.eq(Mux(pending, self.measured.ready, o.valid & o.ready)),
        ]
        with m.If(self.measured.valid & self.measured.ready):
            m.d.sync += [top.eq(value.o.payload.exponent), pending.eq(0)]

    def unit_power(self, exponent: Value) -> Value:
        """The power of two that an integer counts which was aligned to input_bits at a biased exponent."""
        return exponent - Const(FORMATS[self.config.float_format].bias + self.config.input_bits - 2)
