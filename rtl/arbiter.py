"""The conflict-free bank arbiter: many lanes read from many single-port banks.

Each lane queues its requests. Every cycle each bank takes the request of one lane, in turn, and serves with the same
read all lanes that ask for the same word. A lane's words come in order. See golden.arbiter for the exact order.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from rtl import layouts
from rtl.library import Named


def address(config: Config) -> data.StructLayout:
    """What selects a word in its bank: the tile's slot, the row in the tile, the digit."""
    rows = -(-config.tile // config.banks)
    return data.StructLayout({"digit": config.digit_index_bits, "row": range(rows), "slot": range(config.tile_slots)})


def request(config: Config) -> data.StructLayout:
    """A lane's request."""
    return data.StructLayout({"bank": range(config.banks), "address": address(config)})


class BankPort(wiring.Component):
    """Arbitration of one bank: round robin with broadcast. Combinational but for the turn.

    `asking` marks the lanes that can take a word from this bank, `addresses` their addresses; `granted` those
    served, by reading `address` if `enable`.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "asking": In(config.lanes),
                "addresses": In(data.ArrayLayout(address(config), config.lanes)),
                "granted": Out(config.lanes),
                "enable": Out(1),
                "address": Out(address(config)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes = self.config.lanes
        due = Signal(lanes, init=(1 << lanes) - 1)  # lanes from the turn on
        first, winner = Signal(lanes), Signal(lanes)
        m.d.comb += [
            first.eq(Mux((self.asking & due).any(), self.asking & due, self.asking)),
            winner.eq(first & (~first + 1)),
            self.enable.eq(self.asking.any()),
        ]
        with m.If(self.enable):
            # Lanes above the winner are due next; above the highest lane come all.
            m.d.sync += due.eq(Mux(winner[-1], (1 << lanes) - 1, ~(winner | (winner - 1))))
        chosen = Value.cast(0)
        for n in range(lanes):
            chosen = chosen | (Value.cast(self.addresses[n]) & winner[n].replicate(len(Value.cast(self.address))))
        m.d.comb += Value.cast(self.address).eq(chosen)
        m.d.comb += self.granted.eq(
            Cat(self.asking[n] & (Value.cast(self.addresses[n]) == Value.cast(self.address)) for n in range(lanes))
        )
        return m


class LanePort(wiring.Component):
    """One lane: a queue of requests, and the word on its way.

    `head` is valid while the lane can take a word; `granted` in that cycle means that the bank's word arrives in
    `arrived` in the next. A word that is not taken at once waits in a register.
    """

    def __init__(self, config: Config, word: ShapeLike) -> None:
        self.config, self.word = config, Shape.cast(word).width
        super().__init__(
            {
                "i": In(stream.Signature(request(config))),
                "head": Out(request(config)),
                "asking": Out(1),
                "granted": In(1),
                "bank": Out(range(config.banks)),
                "arrived": In(self.word),
                "o": Out(stream.Signature(self.word)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFO(width=len(Value.cast(self.head)), depth=self.config.request_depth)
        m.d.comb += [
            queue.w_data.eq(Value.cast(self.i.payload)),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            Value.cast(self.head).eq(queue.r_data),
            queue.r_en.eq(self.granted),
        ]
        coming, waiting = Signal(), Signal()
        held = Signal(self.word, reset_less=True)
        m.d.comb += [
            self.o.valid.eq(coming | waiting),
            self.o.payload.eq(Mux(waiting, held, self.arrived)),
            # A granted word must find room: the present one is gone by then, or there is none.
            self.asking.eq(queue.r_rdy & (self.o.ready | ~self.o.valid)),
        ]
        m.d.sync += [coming.eq(self.granted), waiting.eq(self.o.valid & ~self.o.ready)]
        with m.If(coming):
            m.d.sync += held.eq(self.arrived)
        with m.If(self.granted):
            m.d.sync += self.bank.eq(self.head.bank)
        return m


class BankArbiter(wiring.Component):
    """Connects `lanes` request streams with `banks` synchronous memories.

    Ports: `requests` and `words`, a stream for each lane; `reads`, for each bank an enable and an address, whose word
    must be at `data` in the next cycle. Latency 2 from request to word. With no two lanes asking one bank for
    different words, and request_depth at least 2, every lane gets one word per cycle; a request at the head of its
    queue waits for at most lanes - 1 others.
    """

    latency = 2

    def __init__(self, config: Config, word: ShapeLike | None = None) -> None:
        self.config = config
        self.word = Shape.cast(layouts.word(config) if word is None else word).width
        read = wiring.Signature({"enable": Out(1), "address": Out(address(config)), "data": In(self.word)})
        super().__init__(
            {
                "requests": In(stream.Signature(request(config))).array(config.lanes),
                "words": Out(stream.Signature(self.word)).array(config.lanes),
                "reads": Out(read).array(config.banks),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes = [LanePort(self.config, self.word) for _ in range(self.config.lanes)]
        banks = [BankPort(self.config) for _ in range(self.config.banks)]
        words = Array(read.data for read in self.reads)
        for n, lane in enumerate(lanes):
            m.submodules[f"lane_{n}"] = Named(lane, f"lane_port_{self.word}")
            wiring.connect(m, wiring.flipped(self.requests[n]), lane.i)
            wiring.connect(m, lane.o, wiring.flipped(self.words[n]))
            m.d.comb += [
                lane.arrived.eq(words[lane.bank]),
                lane.granted.eq(Cat(bank.granted[n] for bank in banks).any()),
            ]
        for n, (bank, read) in enumerate(zip(banks, self.reads, strict=True)):
            m.submodules[f"bank_{n}"] = Named(bank, "bank_port")
            m.d.comb += [
                bank.asking.eq(Cat(lane.asking & (lane.head.bank == n) for lane in lanes)),
                *(bank.addresses[k].eq(lane.head.address) for k, lane in enumerate(lanes)),
                read.enable.eq(bank.enable),
                read.address.eq(bank.address),
            ]
        return m
