"""The banked token buffers: a few key/value tiles on chip, read by all lanes through the bank arbiter.

Token t of a tile lies in bank t mod banks, so consecutive tokens never collide. Every digit of the codes has a
memory of its own: a pass reads only the digit that it needs, or all at once.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import DIGIT_BITS, Config
from rtl import layouts
from rtl.arbiter import BankArbiter, address
from rtl.library import Named


def words_layout(config: Config, side: data.Layout) -> data.StructLayout:
    """What a pass reads of the codes of a lane group's tokens, and their side data."""
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(layouts.word(config), config.lanes),
            "side": data.ArrayLayout(side, config.lanes),
            "beat": layouts.beat(config),
        }
    )


def entry(config: Config, side: data.Layout) -> data.StructLayout:
    """A token as it is stored."""
    return data.StructLayout({"codes": data.ArrayLayout(config.code_bits, config.head_dim), "side": side})


class Bank(wiring.Component):
    """The memories of one bank: one for each digit, and one for the side data. One read per cycle, latency 1.

    Where passes may read whole codes, the digit that any other pass reads takes the place of the first one.
    """

    def __init__(self, config: Config, side: data.Layout) -> None:
        self.config, self.side = config, side
        super().__init__(
            {
                "write": In(1),
                "write_row": In(len_row(config)),
                "entry": In(entry(config, side)),
                "read": In(1),
                "address": In(address(config)),
                "data": Out(layouts.word(config).size + side.size),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        row = Cat(self.address.row, self.address.slot)
        depth = 1 << len(row)

        def plane(name: str, width: int, value: Value, enable: Value) -> Value:
            m.submodules[name] = mem = memory.Memory(shape=width, depth=depth, init=[])
            write, read = mem.write_port(), mem.read_port()
            m.d.comb += [
                write.addr.eq(self.write_row),
                write.data.eq(value),
                write.en.eq(self.write),
                read.addr.eq(row),
                read.en.eq(enable),
            ]
            return read.data

        planes = []
        for digit in range(config.digits):
            low = DIGIT_BITS * (config.digits - 1 - digit)  # digit 0 is the most significant
            word = Cat(self.entry.codes[c][low : low + DIGIT_BITS] for c in range(config.head_dim))
            wanted = self.address.digit == digit
            if layouts.whole(config):
                wanted |= self.address.whole
            planes.append(plane(f"digit_{digit}", len(word), word, self.read & wanted))
        selected = Signal.like(self.address.digit)
        with m.If(self.read):
            m.d.sync += selected.eq(self.address.digit)
        side = Const(0, 0)
        if self.side.size:
            side = plane("side", self.side.as_shape().width, Value.cast(self.entry.side), self.read)
        first = Signal(len(planes[0]))
        m.d.comb += first.eq(Array(planes)[selected])
        digits = [first, *planes[1 : config.word_digits]]
        codes = (digit.word_select(c, DIGIT_BITS) for c in range(config.head_dim) for digit in reversed(digits))
        m.d.comb += self.data.eq(Cat(codes, side))
        return m


def len_row(config: Config) -> int:
    """Bits of a row's number in a bank, slot included."""
    layout = address(config)
    return layout["row"].width + layout["slot"].width


class TokenBuffer(wiring.Component):
    """Key or value codes of `tile_slots` tiles.

    `write` stores one token per cycle: `token` and `slot` say where, `entry` what. `i` takes a beat of the
    sequencer, `o` gives the words of its lanes together with the beat. Latency 2; one beat per cycle if no two lanes
    ask one bank for different tokens.
    """

    latency = BankArbiter.latency

    def __init__(self, config: Config, side: data.Layout) -> None:
        self.config, self.side = config, side
        super().__init__(
            {
                "write": In(1),
                "slot": In(range(config.tile_slots)),
                "token": In(config.token_bits),
                "entry": In(entry(config, side)),
                "i": In(stream.Signature(layouts.beat(config))),
                "o": Out(stream.Signature(words_layout(config, side))),
            }
        )

    def place(self, token: Value) -> tuple[Value, Value]:
        """Bank and row of a token."""
        return token % self.config.banks, token // self.config.banks

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        bits = layouts.word(config).size
        arbiter = BankArbiter(config, bits + self.side.size)
        m.submodules.arbiter = Named(arbiter, f"bank_arbiter_{arbiter.word}")
        depth = config.request_depth + arbiter.latency
        m.submodules.beats = beats = fifo.SyncFIFO(width=layouts.beat(config).size, depth=depth)

        # A beat enters all queues at once; its words leave once all lanes have theirs.
        room, complete = Signal(), Signal()
        m.d.comb += [
            room.eq(Cat(r.ready for r in arbiter.requests).all() & beats.w_rdy),
            self.i.ready.eq(room),
            beats.w_data.eq(Value.cast(self.i.payload)),
            beats.w_en.eq(self.i.valid & room),
            complete.eq(Cat(w.valid for w in arbiter.words).all()),
            self.o.valid.eq(complete),
            Value.cast(self.o.payload.beat).eq(beats.r_data),
            beats.r_en.eq(complete & self.o.ready),
        ]
        for n in range(config.lanes):
            bank, row = self.place(self.i.payload.tokens[n])
            wanted = arbiter.requests[n].payload
            m.d.comb += [
                arbiter.requests[n].valid.eq(self.i.valid & room),
                wanted.bank.eq(bank),
                wanted.address.row.eq(row),
                wanted.address.slot.eq(self.i.payload.tile_slot),
                wanted.address.digit.eq(self.i.payload.digit),
                wanted.address.whole.eq(self.i.payload.whole),
                arbiter.words[n].ready.eq(complete & self.o.ready),
                Value.cast(self.o.payload.codes[n]).eq(arbiter.words[n].payload[:bits]),
            ]
            if self.side.size:
                m.d.comb += Value.cast(self.o.payload.side[n]).eq(arbiter.words[n].payload[bits:])

        write_bank, write_row = self.place(self.token)
        for n in range(config.banks):
            bank = Bank(config, self.side)
            m.submodules[f"bank_{n}"] = Named(bank, f"bank_{arbiter.word}")
            m.d.comb += [
                bank.write.eq(self.write & (write_bank == n)),
                bank.write_row.eq(Cat(write_row[: address(config)["row"].width], self.slot)),
                bank.entry.eq(self.entry),
                bank.read.eq(arbiter.reads[n].enable),
                bank.address.eq(arbiter.reads[n].address),
                arbiter.reads[n].data.eq(bank.data),
            ]
        return m


class KeyBuffer(TokenBuffer):
    """Key codes, with the scales of key and value beside them."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, layouts.scales(config))


class ValueBuffer(TokenBuffer):
    """Value codes."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, data.StructLayout({}))
