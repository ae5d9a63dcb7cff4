"""The conflict-free bank arbiter: many lanes read from many single-port banks.

Each lane queues its requests, in one queue or in several, each to its own part of the banks. Every cycle each bank
takes the request of one lane, in turn, and serves with the same read all lanes that ask for the same word. A lane's
words come in order. See golden.arbiter for the exact order.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config
from rtl import layouts
from rtl.library import Named
from rtl.reorder import Reorder, WordQueue


def address(config: Config) -> data.StructLayout:
    """What selects a word in its bank: the tile's slot, the row in the tile, the digit or all of them."""
    rows = -(-config.tile // config.banks)
    return data.StructLayout(
        {
            "digit": config.digit_index_bits,
            "whole": layouts.whole(config),
            "row": range(rows),
            "slot": range(config.tile_slots),
        }
    )


def request(config: Config) -> data.StructLayout:
    """A lane's request."""
    return data.StructLayout({"bank": range(config.banks), "address": address(config)})


def part(config: Config, bank: Value) -> tuple[Value, Value]:
    """The part of the banks that a bank belongs to, and its number in there: each has every request_window'th."""
    bits = config.request_window.bit_length() - 1
    return bank[:bits], bank[bits:]


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


def bank_side(config: Config, bits: int) -> wiring.Signature:
    """What a queue of a lane has to do with its part of the banks.

    `head` is valid while `asking`; `granted` in that cycle means that the word of the part's bank `bank` arrives in
    `arrived` in the next.
    """
    banks = range(max(2, -(-config.banks // config.request_window)))  # tools stumble over ports without a bit
    return wiring.Signature(
        {"head": Out(request(config)), "asking": Out(1), "granted": In(1), "bank": Out(banks), "arrived": In(bits)}
    )


class LaneQueue(wiring.Component):
    """Requests of one lane that are served in order, and their words on the way.

    Words that are not taken at once wait: one if the lane has no other queue, else up to request_depth, for the words
    that other queues are still to deliver.
    """

    def __init__(self, config: Config, bits: int) -> None:
        self.config, self.bits = config, bits
        super().__init__(
            {
                "i": In(stream.Signature(request(config))),
                "port": Out(bank_side(config, bits)),
                "o": Out(stream.Signature(bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        port, depth, window = self.port, self.config.request_depth, self.config.request_window
        m.submodules.queue = queue = fifo.SyncFIFO(width=len(Value.cast(port.head)), depth=depth)
        m.submodules.words = words = WordQueue(self.bits, 1 if window == 1 else depth)
        wiring.connect(m, words.o, wiring.flipped(self.o))
        m.d.comb += [
            queue.w_data.eq(Value.cast(self.i.payload)),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            Value.cast(port.head).eq(queue.r_data),
            queue.r_en.eq(port.granted),
            port.asking.eq(queue.r_rdy & words.room),
            words.arrived.eq(port.arrived),
        ]
        m.d.sync += words.coming.eq(port.granted)
        with m.If(port.granted):
            m.d.sync += port.bank.eq(part(self.config, port.head.bank)[1])
        return m


class LanePort(wiring.Component):
    """One lane: request_window queues, for as many parts of the banks. Its words come in order."""

    def __init__(self, config: Config, word: ShapeLike) -> None:
        self.config, self.word = config, Shape.cast(word).width
        super().__init__(
            {
                "i": In(stream.Signature(request(config))),
                "ports": Out(bank_side(config, self.word)).array(config.request_window),
                "o": Out(stream.Signature(self.word)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        window = self.config.request_window
        queues = [LaneQueue(self.config, self.word) for _ in range(window)]
        for n, queue in enumerate(queues):
            m.submodules[f"queue_{n}"] = Named(queue, f"lane_queue_{self.word}")
            wiring.connect(m, queue.port, wiring.flipped(self.ports[n]))
        if window == 1:
            wiring.connect(m, wiring.flipped(self.i), queues[0].i)
            wiring.connect(m, queues[0].o, wiring.flipped(self.o))
            return m
        under_way = 2 * window * self.config.request_depth  # requests and words
        m.submodules.reorder = reorder = Reorder(request(self.config), self.word, window, under_way)
        wiring.connect(m, wiring.flipped(self.i), reorder.i)
        wiring.connect(m, reorder.o, wiring.flipped(self.o))
        m.d.comb += reorder.chosen.eq(part(self.config, self.i.payload.bank)[0])
        for queue, asked, answer in zip(queues, reorder.asked, reorder.answers, strict=True):
            wiring.connect(m, asked, queue.i)
            wiring.connect(m, queue.o, answer)
        return m


class BankWords(wiring.Component):
    """The word of one of the banks of a part: for every lane the same module, which tools map once."""

    def __init__(self, config: Config, bits: int, banks: int) -> None:
        super().__init__(
            {
                "bank": In(bank_side(config, bits).members["bank"].shape),
                "words": In(bits).array(banks),
                "word": Out(bits),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.word.eq(Array(self.words)[self.bank])
        return m


class BankArbiter(wiring.Component):
    """Connects `lanes` request streams with `banks` synchronous memories.

    Ports: `requests` and `words`, a stream for each lane; `reads`, for each bank an enable and an address, whose word
    must be at `data` in the next cycle. Latency 2 from request to word. With no two lanes asking one bank for
    different words, and request_depth at least 2, every lane gets one word per cycle; a request at the head of its
    queue waits for at most lanes - 1 others.

    Requests to random words wait for each other. In one queue, all behind such a one wait too; in request_window
    queues, each to its own part of the banks, others overtake it. A lane takes one word a cycle from each part, so
    the multiplexers that select its words take no more than for one queue.
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
        window = self.config.request_window
        lanes = [LanePort(self.config, self.word) for _ in range(self.config.lanes)]
        banks = [BankPort(self.config) for _ in range(self.config.banks)]
        for n, lane in enumerate(lanes):
            m.submodules[f"lane_{n}"] = Named(lane, f"lane_port_{self.word}")
            wiring.connect(m, wiring.flipped(self.requests[n]), lane.i)
            wiring.connect(m, lane.o, wiring.flipped(self.words[n]))
            for k, port in enumerate(lane.ports):
                reads = list(self.reads)[k::window]
                words = BankWords(self.config, self.word, len(reads))
                m.submodules[f"lane_{n}_words_{k}"] = Named(words, f"bank_words_{len(reads)}x{self.word}")
                m.d.comb += [
                    *(word.eq(read.data) for word, read in zip(words.words, reads, strict=True)),
                    words.bank.eq(port.bank),
                    port.arrived.eq(words.word),
                    port.granted.eq(Cat(bank.granted[n] for bank in banks[k::window]).any()),
                ]
        for n, (bank, read) in enumerate(zip(banks, self.reads, strict=True)):
            m.submodules[f"bank_{n}"] = Named(bank, "bank_port")
            ports = [lane.ports[n % window] for lane in lanes]
            m.d.comb += [
                bank.asking.eq(Cat(port.asking & (port.head.bank == n) for port in ports)),
                *(bank.addresses[k].eq(port.head.address) for k, port in enumerate(ports)),
                read.enable.eq(bank.enable),
                read.address.eq(bank.address),
            ]
        return m
