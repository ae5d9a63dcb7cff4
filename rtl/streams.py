"""Streams and the few pieces of control that every pipeline here shares.

A transfer happens in a cycle in which `valid` and `ready` are both high. All streams obey the four rules of the
Amaranth standard (RFC 61, "Minimal streams"):

1. a producer that raises `valid` keeps it until the transfer,
2. and keeps `payload` unchanged until then;
3. `valid` must not depend on `ready` of the same stream within a cycle;
4. outside of a transfer, `payload` of a low `valid` and `ready` carry no meaning.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Shape, ShapeLike, Signal, Value, ValueLike
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out


def queue(m: Module, name: str, source, sink, depth: int) -> None:
    """Connects two streams through a FIFO of `depth` words."""
    m.submodules[name] = words = fifo.SyncFIFO(width=len(Value.cast(source.payload)), depth=depth)
    m.d.comb += [
        words.w_data.eq(Value.cast(source.payload)),
        words.w_en.eq(source.valid),
        source.ready.eq(words.w_rdy),
        Value.cast(sink.payload).eq(words.r_data),
        sink.valid.eq(words.r_rdy),
        words.r_en.eq(sink.ready),
    ]


UNDER_WAY = 8
"""Beats that most pipelines hold at most."""


def tagged(m: Module, name: str, source, sink, tag: Any, keep: ValueLike, under_way: int = UNDER_WAY) -> fifo.SyncFIFO:
    """Hands beats of `source` on to `sink`; those with `keep` leave their tag in the queue that is returned.

    So many beats may be `under_way` in what follows `sink` without a stall.
    """
    m.submodules[name] = tags = fifo.SyncFIFO(width=len(Value.cast(tag)), depth=under_way + 1)
    m.d.comb += [
        sink.valid.eq(source.valid & tags.w_rdy),
        source.ready.eq(sink.ready & tags.w_rdy),
        tags.w_data.eq(Value.cast(tag)),
        tags.w_en.eq(sink.valid & sink.ready & keep),
    ]
    return tags


def flow(m: Module, entering: ValueLike, o, latency: int) -> Signal:
    """Control of a pipeline of `latency` registers that ends in the stream o and moves or stalls as a whole.

    Returns `advance`, the enable of all its registers: `o` is empty or being taken. In such a cycle a beat enters
    the first register if `entering` is high.
    """
    advance = Signal()
    m.d.comb += advance.eq(o.ready | ~o.valid)
    for n in range(latency - 1):
        stage = Signal(name=f"valid_{n + 1}")
        with m.If(advance):
            m.d.sync += stage.eq(entering)
        entering = stage
    with m.If(advance):
        m.d.sync += o.valid.eq(entering)
    return advance


def delay(m: Module, enable: ValueLike, value: Any, cycles: int, name: str) -> Any:
    """`value` through `cycles` registers that move with `enable`; keeps the shape, has no reset."""
    return delays(m, enable, value, cycles, name)[-1]


def delays(m: Module, enable: ValueLike, value: Any, cycles: int, name: str) -> list[Any]:
    """`value`, and what each of these registers has of it."""
    found = [value]
    for n in range(cycles):
        found.append(Signal(value.shape(), name=f"{name}_{n + 1}", reset_less=True))
        with m.If(enable):
            m.d.sync += found[-1].eq(found[-2])
    return found


def saturate(value: Value, shape: Shape) -> Value:
    """A signed `value` limited to the range of the signed `shape`."""
    top, bottom = (1 << (shape.width - 1)) - 1, -(1 << (shape.width - 1))
    limited = Mux(value > top, top, Mux(value < bottom, bottom, value))
    return limited[: shape.width].as_signed()


class Fork(wiring.Component):
    """One stream to several consumers, each of which takes every beat once, in its own time.

    Latency 0; throughput that of the slowest consumer. A consumer sees a beat until it takes it, whatever the
    others do, so the rules hold on every output.
    """

    def __init__(self, shape: ShapeLike, consumers: int) -> None:
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)).array(consumers)})

    def elaborate(self, platform) -> Module:
        m = Module()
        taken, finished = Signal(len(self.o)), Signal(len(self.o))
        for n, o in enumerate(self.o):
            m.d.comb += [
                o.payload.eq(self.i.payload),
                o.valid.eq(self.i.valid & ~taken[n]),
                finished[n].eq(taken[n] | o.ready),
            ]
        m.d.comb += self.i.ready.eq(finished.all())
        with m.If(self.i.valid):
            m.d.sync += taken.eq(Mux(self.i.ready, 0, finished))
        return m


def slot_of(slots: int, meta: ShapeLike) -> data.StructLayout:
    """A filled slot of a ring of `slots`, and what its writer says about it."""
    return data.StructLayout({"slot": range(slots), "meta": meta})


class Slots(wiring.Component):
    """Bookkeeping of a ring of buffer slots: filled in order, used in order, freed in order.

    `free` and `write_slot` tell the writer whether and where to fill; `filled` with `meta` hands the slot on to
    `tile`, whose reader takes it once; `release` returns the oldest slot to the writer.
    """

    def __init__(self, slots: int, meta: ShapeLike) -> None:
        self.slots = slots
        super().__init__(
            {
                "free": Out(1),
                "write_slot": Out(range(slots)),
                "filled": In(1),
                "meta": In(meta),
                "tile": Out(stream.Signature(slot_of(slots, meta))),
                "release": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        used, waiting = Signal(range(self.slots + 1)), Signal(range(self.slots + 1))
        read_slot = Signal(range(self.slots))
        metas = [Signal.like(self.meta, name=f"meta_{n}") for n in range(self.slots)]
        taken = self.tile.valid & self.tile.ready
        m.d.sync += [used.eq(used + self.filled - self.release), waiting.eq(waiting + self.filled - taken)]
        for slot, moved in ((self.write_slot, self.filled), (read_slot, taken)):
            with m.If(moved):
                m.d.sync += slot.eq(Mux(slot == self.slots - 1, 0, slot + 1))
        with m.Switch(self.write_slot):
            for n, held in enumerate(metas):
                with m.Case(n), m.If(self.filled):
                    m.d.sync += held.eq(self.meta)
        with m.Switch(read_slot):
            for n, held in enumerate(metas):
                with m.Case(n):
                    m.d.comb += self.tile.payload.meta.eq(held)
        m.d.comb += [
            self.free.eq(used != self.slots),
            self.tile.valid.eq(waiting != 0),
            self.tile.payload.slot.eq(read_slot),
        ]
        return m
