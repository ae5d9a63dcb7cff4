"""Preparation: raw keys and values become operands of the core and pooled keys of speculation. See golden.prepare.

key ----> measure -+                              +-> pool ------> cells
                   +- keys, then values: centre --+-> pool ------> tiles
value --> measure -+                              +-> quantise --> prepared

Keys and values are measured at once, but prepared one after the other, by the same units: while the first query tile
is speculated, for which keys are enough, values follow.
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.config import Config
from golden.formats import FORMATS
from rtl import layouts
from rtl.centre import Centre, centred_row
from rtl.head import head, measured, pooled, prepared
from rtl.library import Named
from rtl.places import Places, place
from rtl.pool import Pool
from rtl.quantise import Quantise, exponent_bits
from rtl.query_pools import pooled_at
from rtl.statistics import Statistics, head_statistics
from rtl.streams import Fork, tagged


class Side(wiring.Component):
    """Keys or values: a first pass over a head's rows finds their statistics, a second one hands them on.

    i: every head's rows, twice; o: those of the second pass; `found`: their statistics, which are taken when that may
    begin. They stay in `known` until the next head's are taken.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        known = head_statistics(config)
        super().__init__(
            {
                "i": In(stream.Signature(layouts.row(config))),
                "o": Out(stream.Signature(layouts.row(config))),
                "found": Out(stream.Signature(known)),
                "known": Out(known),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.statistics = statistics = Statistics(self.config)
        connect(m, statistics.o, flipped(self.found))
        m.d.comb += [
            Value.cast(statistics.i.payload).eq(Value.cast(self.i.payload)),
            Value.cast(self.o.payload).eq(Value.cast(self.i.payload)),
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
                m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
                with m.If(last):
                    m.next = "measure"
        return m


class Prepare(wiring.Component):
    """Streams: `head`, a word for every head; `key` and `value`, its rows, twice; `measured`, a word for every head,
    before all that is prepared of it; `prepared`, its keys and then its values; `cells` and `tiles`, its pooled keys.

    The second pass begins when the first has ended on both sides and nothing of the head before is on its way: with
    keys, and then values. A row then takes as many cycles as the slower part: see Centre and Quantise.
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
        keys, values = Side(config), Side(config)
        for name, side, raw in (("key_side", keys, self.key), ("value_side", values, self.value)):
            m.submodules[name] = Named(side, "prepare_side")
            connect(m, flipped(raw), side.i)

        # A head begins: its statistics replace those of the one before, whose last value has left.
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

        centre = self.centred(m, keys, values)
        m.submodules.places = places = Places(config, config.tile)
        m.d.comb += [
            places.step.eq(centre.o.valid & centre.o.ready),
            places.last.eq(centre.o.payload.last),
            places.tokens.eq(current.tokens),
        ]
        fork = self.pools(m, centre.o, places.here)

        # Before a head's rows comes one with the largest value there can be: its exponent is that of `measured`.
        first, pending = Signal(), Signal()  # it is to be sent; its exponent has not come yet
        quantise, tile_end = self.codes(m, centre.o, fork, places.here.tile_end, first, pending)
        reach = (values.known.reach >> config.rotation_shift) + 1
        with m.If(first):
            m.d.comb += quantise.i.payload.vector[0].eq(Mux(reach > config.rotated_max, config.rotated_max, reach))
        with m.Else():
            m.d.comb += Value.cast(quantise.i.payload.vector).eq(Value.cast(centre.o.payload.vector))
        with m.If(quantise.i.ready):
            m.d.sync += first.eq(0)
        with m.If(begin):
            m.d.sync += [first.eq(1), pending.eq(1)]
        with m.If(self.measured.valid & self.measured.ready):
            m.d.sync += pending.eq(0)
        self.write(m, current, keys.known, values.known, quantise, tile_end, pending)
        return m

    def centred(self, m: Module, keys: Side, values: Side) -> Centre:
        """All keys of a head, then all its values."""
        m.submodules.centre = centre = Centre(self.config)
        turn, row = Signal(), centre.i.payload  # `turn` is that of values
        m.d.comb += row.value.eq(turn)
        for offset, side in ((centre.keys, keys), (centre.values, values)):
            m.d.comb += [
                offset.exponent.eq(side.known.exponent),
                Value.cast(offset.mean).eq(Value.cast(side.known.mean)),
            ]
        with m.Switch(turn):
            for n, side in enumerate((keys, values)):
                with m.Case(n):
                    m.d.comb += [
                        centre.i.valid.eq(side.o.valid),
                        side.o.ready.eq(centre.i.ready),
                        Value.cast(row.elements).eq(Value.cast(side.o.payload.elements)),
                        row.last.eq(side.o.payload.last),
                    ]
        with m.If(centre.i.valid & centre.i.ready & row.last):
            m.d.sync += turn.eq(~turn)
        return centre

    def pools(self, m: Module, rows: stream.Interface, here: data.View) -> Fork:
        """Keys go three ways: into two pools, each row with its place, and by the first output on to their codes."""
        config, row = self.config, rows.payload
        placed = data.StructLayout({"vector": centred_row(config)["vector"].shape, "place": place(config)})
        m.submodules.fork = fork = Fork(placed, 3)
        m.d.comb += [
            fork.i.valid.eq(rows.valid & ~row.value),
            Value.cast(fork.i.payload.vector).eq(Value.cast(row.vector)),
            fork.i.payload.place.eq(here),
        ]
        for name, consumer, end in (("cells", fork.o[1], "cell_end"), ("tiles", fork.o[2], "tile_end")):
            pool = Pool(config, config.rotated_bits, None)
            m.submodules[f"pool_{name}"] = Named(pool, "key_pool")
            key, at = consumer.payload.vector, consumer.payload.place
            m.d.comb += [
                Value.cast(pool.i.payload.vector).eq(Value.cast(key)),
                pool.i.payload.ends.eq(at[end]),
                pool.i.payload.last.eq(at.last),
            ]
            beside = tagged(m, f"{name}_places", consumer, pool.i, at, at[end])
            pooled_at(m, config, pool, beside, getattr(self, name), "piece_end" if name == "cells" else "frame_end")
        return fork

    def codes(
        self, m: Module, rows: stream.Interface, fork: Fork, tile_end: Value, first: Value, pending: Value
    ) -> tuple[Quantise, Value]:
        """Keys, which pass the fork, and values become codes. Returns their unit, and whether what leaves ends a tile.

        A `first` row is taken before all others; while `pending`, no values are.
        """
        config, row = self.config, rows.payload
        m.submodules.quantise = quantise = Quantise(config, config.prepare_channels)
        placed, entering = (stream.Signature(0).create(path=(name,)) for name in ("placed", "entering"))
        m.d.comb += [
            placed.valid.eq(Mux(row.value, rows.valid & ~pending, fork.o[0].valid)),
            fork.o[0].ready.eq(placed.ready),
            rows.ready.eq(Mux(row.value, placed.ready & ~pending, fork.i.ready)),
            quantise.i.valid.eq(entering.valid | first),
            entering.ready.eq(quantise.i.ready & ~first),
            quantise.i.payload.value.eq(row.value | first),
            quantise.i.payload.last.eq(row.last),
        ]
        under_way = -(-quantise.latency // quantise.chunks)
        ends = tagged(m, "tile_ends", placed, entering, tile_end, Const(1), under_way)
        m.d.comb += ends.r_en.eq(self.prepared.valid & self.prepared.ready)
        return quantise, ends.r_data

    def write(self, m: Module, current, keys, values, quantise: Quantise, tile_end: Value, pending: Value) -> None:
        """Codes and scales, with the bounds of their exponents; or `measured` while that is `pending`."""
        config, row, o, found = self.config, quantise.o.payload, self.prepared, self.measured
        power, top = Signal(signed(exponent_bits(config))), Signal.like(row.exponent)
        unit = self.unit_power(values.exponent) + config.scale_bits
        lowest = Const(-(1 << (config.output_exponent_bits - 1))) - unit
        m.d.comb += [
            power.eq(self.unit_power(keys.exponent) + current.factor_exponent),
            quantise.key_factor.eq(current.factor),
            quantise.key_least.eq(Const(-(1 << (config.key_exponent_bits - 1))) - power),
            quantise.value_least.eq(Mux(pending, lowest, top - ((1 << config.value_exponent_bits) - 1))),
        ]
        with m.If(found.valid & found.ready):
            m.d.sync += top.eq(row.exponent)
        m.d.comb += [
            found.valid.eq(quantise.o.valid & pending),
            o.valid.eq(quantise.o.valid & ~pending),
            quantise.o.ready.eq(Mux(pending, found.ready, o.ready)),
            found.payload.key_exponent.eq(keys.exponent),
            found.payload.value_exponent.eq(values.exponent),
            Value.cast(found.payload.value_mean).eq(Value.cast(values.mean)),
            found.payload.output_exponent.eq(row.exponent + unit),
            Value.cast(o.payload.codes).eq(Value.cast(row.codes)),
            o.payload.mantissa.eq(row.mantissa),
            o.payload.exponent.eq(Mux(row.value, top - row.exponent, row.exponent + power)),
            o.payload.value.eq(row.value),
            o.payload.last.eq(tile_end),
            o.payload.head_last.eq(row.value & row.last),
        ]

    def unit_power(self, exponent: Value) -> Value:
        """The power of two that an integer counts which was aligned to input_bits at a biased exponent."""
        return exponent - Const(FORMATS[self.config.float_format].bias + self.config.input_bits - 2)
