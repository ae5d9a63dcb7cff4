"""Answers in order: several queues serve one stream of requests, each in its own time; what comes too early waits."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, ShapeLike, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out


class WordQueue(wiring.Component):
    """Words that were not taken at once, up to `depth`. A word passes by while none waits: latency 0.

    `arrived` holds a word while `coming`. It cannot be refused: only after a cycle with `room` may one come.
    """

    def __init__(self, bits: int, depth: int) -> None:
        self.bits, self.depth = bits, depth
        super().__init__({"coming": In(1), "arrived": In(bits), "room": Out(1), "o": Out(stream.Signature(bits))})

    def elaborate(self, platform) -> Module:
        m = Module()
        waiting, full = Signal(), Signal()
        oldest = Signal(self.bits, reset_less=True)
        m.d.comb += [
            self.o.valid.eq(self.coming | waiting),
            self.o.payload.eq(Mux(waiting, oldest, self.arrived)),
            self.room.eq(self.o.ready | ~full),
        ]
        if self.depth == 1:
            m.d.comb += full.eq(self.o.valid)
            m.d.sync += waiting.eq(self.o.valid & ~self.o.ready)
            with m.If(self.coming):
                m.d.sync += oldest.eq(self.arrived)
        else:
            m.submodules.words = words = fifo.SyncFIFO(width=self.bits, depth=self.depth)
            m.d.comb += [
                words.w_data.eq(self.arrived),
                words.w_en.eq(self.coming & (waiting | ~self.o.ready)),
                waiting.eq(words.r_rdy),
                oldest.eq(words.r_data),
                words.r_en.eq(self.o.ready),
                full.eq(words.level + self.coming == self.depth),
            ]
        return m


class Reorder(wiring.Component):
    """One stream of requests to several queues, and their answers in the order of the requests.

    A request goes to the queue `chosen`; `asked` and `answers` are the ends of the queues, which answer every request
    once, each in order. They may hold `under_way` requests and answers together. Latency 0 both ways; one request and
    one answer per cycle, as far as the queues go along.
    """

    def __init__(self, request: ShapeLike, answer: ShapeLike, queues: int, under_way: int) -> None:
        self.under_way = under_way
        super().__init__(
            {
                "i": In(stream.Signature(request)),
                "chosen": In(range(queues)),
                "asked": Out(stream.Signature(request)).array(queues),
                "answers": In(stream.Signature(answer)).array(queues),
                "o": Out(stream.Signature(answer)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        # The queue of every request under way: whose answer is due next.
        m.submodules.order = order = fifo.SyncFIFO(width=len(self.chosen), depth=self.under_way)
        m.d.comb += [
            self.i.ready.eq(Array(queue.ready for queue in self.asked)[self.chosen]),
            order.w_data.eq(self.chosen),
            order.w_en.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(order.r_rdy & Array(queue.valid for queue in self.answers)[order.r_data]),
            self.o.payload.eq(Array(queue.payload for queue in self.answers)[order.r_data]),
            order.r_en.eq(self.o.valid & self.o.ready),
        ]
        for n, (asked, answer) in enumerate(zip(self.asked, self.answers, strict=True)):
            m.d.comb += [
                asked.valid.eq(self.i.valid & (self.chosen == n)),
                asked.payload.eq(self.i.payload),
                answer.ready.eq(self.o.ready & order.r_rdy & (order.r_data == n)),
            ]
        return m
