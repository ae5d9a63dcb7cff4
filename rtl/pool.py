"""Pooling: the sum of the rows of a part, as integers of pool_bits with one exponent. See golden.pool."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Shape, ShapeLike, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config, signed_bits, unsigned_bits
from golden.formats import FORMATS
from rtl.library import Named
from rtl.streams import delay, flow
from rtl.trees import tree


def most_rows(config: Config) -> int:
    """Rows of the largest part: a tile of either kind."""
    return max(config.tile, config.query_rows)


def total_max(config: Config, width: int) -> int:
    """Largest magnitude of a sum of rows of `width` bits."""
    return most_rows(config) << (width - 1)


def row(config: Config, width: int, exponent_shape: ShapeLike | None) -> data.StructLayout:
    """One row of a part; `ends` says that it is the last one, `last` is handed on with the part then."""
    exponent = {} if exponent_shape is None else {"exponent": exponent_shape}
    mantissas = data.ArrayLayout(signed(width), config.head_dim)
    return data.StructLayout({"vector": mantissas, **exponent, "ends": 1, "last": 1})


def pooled(config: Config, width: int, exponent_shape: ShapeLike | None) -> data.StructLayout:
    """The sum of a part's rows: mantissa * 2**exponent in units of the rows' common one, and how many they are."""
    highest = 0 if exponent_shape is None else (1 << Shape.cast(exponent_shape).width) - 1
    bound = max(highest + total_max(config, width).bit_length(), config.pool_bits - 1)
    return data.StructLayout(
        {
            "mantissa": data.ArrayLayout(signed(config.pool_bits), config.head_dim),
            "exponent": signed(signed_bits(bound)),
            "size": unsigned_bits(most_rows(config)),
            "last": 1,
        }
    )


def query_form(config: Config) -> tuple[int, ShapeLike | None]:
    """Width of the elements and shape of the exponents of aligned query rows."""
    return config.query_bits, FORMATS[config.float_format].exponent_bits


def key_form(config: Config) -> tuple[int, ShapeLike | None]:
    """The same of prepared keys, which all have the same exponent."""
    return config.rotated_bits, None


class PoolLane(wiring.Component):
    """One channel. `load` takes an element, shifted `down`; `add` puts it to the sum, or begins a new one with it;
    `halve` shifts the sum right by a bit. Its magnitude comes out beside the sum. A sum moves on with `enable`: the
    cycle after, `moves` align its leading one, two cycles later the mantissa is there.
    """

    def __init__(self, config: Config, width: int, scaled: bool) -> None:
        self.config, self.width, self.scaled = config, width, scaled
        self.total_bits = signed_bits(total_max(config, width))
        magnitude_bits = self.total_bits - 1
        shifts = {"down": In(range(width)), "halve": In(1)} if scaled else {}
        super().__init__(
            {
                "load": In(1),
                "element": In(signed(width)),
                **shifts,
                "add": In(1),
                "begins": In(1),
                "magnitude": Out(magnitude_bits),
                "enable": In(1),
                "moves": In((magnitude_bits - 1).bit_length()),
                "mantissa": Out(signed(config.pool_bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        bits = self.config.pool_bits
        own = delay(m, self.load, self.element >> self.down if self.scaled else self.element, 1, "own")
        total = Signal(signed(self.total_bits), reset_less=True)
        with m.If(self.add):
            m.d.sync += total.eq(Mux(self.begins, 0, total) + own)
        if self.scaled:
            with m.Elif(self.halve):
                m.d.sync += total.eq(total >> 1)
        m.d.comb += self.magnitude.eq(abs(total))

        shifted: Value = delay(m, self.enable, total, 1, "complete")
        for k in reversed(range(len(self.moves))):
            stage = Signal(signed(self.total_bits), name=f"shifted_{k}")
            m.d.comb += stage.eq(Mux(self.moves[k], shifted << (1 << k), shifted))
            shifted = stage
        spare = len(shifted) - bits
        if spare <= 0:
            aligned = delay(m, self.enable, shifted << -spare, 1, "aligned")
            m.d.comb += self.mantissa.eq(delay(m, self.enable, aligned, 1, "rounded"))
            return m
        # One bit below the mantissa decides the rounding; only the largest one cannot be rounded up.
        aligned = delay(m, self.enable, shifted[spare - 1 :].as_signed(), 1, "aligned")
        kept = aligned >> 1
        most = (1 << (bits - 1)) - 1
        m.d.comb += self.mantissa.eq(delay(m, self.enable, kept + (aligned[0] & (kept != most)), 1, "rounded"))
        return m


class Pool(wiring.Component):
    """Streams: `i`, the rows of every part, at most `most_rows`; `o`, its `pooled` sum.

    `width`: bits of the elements. `exponent_shape`: of the rows' unsigned exponents; None if all are equal, then there
    is none, and nothing that shifts rows or sums.

    One row per cycle, latency 5 from a part's last row. A row whose exponent is larger than all of its part before
    holds up the next one while the sum is shifted, a bit a cycle: as many cycles as it is larger, but no more than the
    magnitude of a sum has bits. That is rare, and barrel shifters would be for every channel. For the rounding there
    are such, since with parts of single rows there is a sum in every cycle.
    """

    latency = 5

    def __init__(self, config: Config, width: int, exponent_shape: ShapeLike | None) -> None:
        self.config, self.width, self.exponent_shape = config, width, exponent_shape
        self.magnitude_bits = signed_bits(total_max(config, width)) - 1
        super().__init__(
            {
                "i": In(stream.Signature(row(config, width, exponent_shape))),
                "o": Out(stream.Signature(pooled(config, width, exponent_shape))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config, out = self.config, self.o.payload
        scaled = self.exponent_shape is not None
        name = f"pool_lane_{self.width}" if scaled else f"pool_lane_{self.width}_unscaled"
        lanes = [PoolLane(config, self.width, scaled) for _ in range(config.head_dim)]

        # The row at work, and the sum that it is added to; `complete` says that this was a part's last one.
        taken, present, waits, add, complete = (
            Signal(name=name) for name in ("taken", "present", "waits", "add", "complete")
        )
        advance = flow(m, complete, self.o, self.latency - 2)
        m.d.comb += [
            add.eq(present & ~waits & advance),
            self.i.ready.eq(~present | add),
            taken.eq(self.i.valid & self.i.ready),
        ]
        ends, last = (delay(m, taken, self.i.payload[name], 1, name) for name in ("ends", "last"))
        fresh = Signal(init=1)
        begins = delay(m, taken, fresh, 1, "begins")
        with m.If(self.i.ready):
            m.d.sync += present.eq(self.i.valid)
        with m.If(taken):
            m.d.sync += fresh.eq(self.i.payload.ends)
        with m.If(advance):
            m.d.sync += complete.eq(add & ends)
        size = Signal.like(out.size, reset_less=True)
        with m.If(add):
            m.d.sync += size.eq(Mux(begins, 0, size) + 1)
        down, running = self.exponents(m, taken, fresh, waits) if scaled else (None, None)

        magnitude = tree(lambda a, b: a | b, [lane.magnitude for lane in lanes])
        moves, length = self.leading(m, delay(m, advance, magnitude, 1, "magnitude"))
        for n, lane in enumerate(lanes):
            m.submodules[f"lane_{n}"] = Named(lane, name)
            m.d.comb += [
                lane.load.eq(taken),
                lane.element.eq(self.i.payload.vector[n]),
                lane.add.eq(add),
                lane.begins.eq(begins),
                lane.enable.eq(advance),
                lane.moves.eq(moves),
                out.mantissa[n].eq(lane.mantissa),
            ]
            if scaled:
                m.d.comb += [lane.down.eq(down), lane.halve.eq(waits)]
        exponent = length - (config.pool_bits - 1)
        if scaled:
            exponent = exponent + delay(m, advance, delay(m, add, running, 1, "common"), 1, "exponent")
        m.d.comb += [
            out.size.eq(delay(m, advance, size, 3, "rows")),
            out.last.eq(delay(m, advance, delay(m, add, last, 1, "final"), 3, "last")),
            out.exponent.eq(delay(m, advance, exponent, 2, "result")),
        ]
        return m

    def exponents(self, m: Module, taken: Value, fresh: Value, waits: Value) -> tuple[Signal, Signal]:
        """How far down a row is shifted that enters, and the largest exponent up to the row at work, which `waits`."""
        exponent = self.i.payload.exponent
        running = Signal(exponent.shape(), reset_less=True)
        down = Signal(range(self.width))
        rise = Signal(range(self.magnitude_bits + 1))
        above, larger = exponent - running, Signal()
        # Shifts beyond all bits but the sign change nothing any more.
        behind = Mux(-above > self.width - 1, self.width - 1, -above)
        ahead = Mux(above > self.magnitude_bits, self.magnitude_bits, above)
        m.d.comb += [
            larger.eq(above > 0),
            down.eq(Mux(fresh | larger, 0, behind)),
            waits.eq(rise != 0),
        ]
        with m.If(taken):
            m.d.sync += rise.eq(Mux(larger & ~fresh, ahead, 0))
            with m.If(fresh | larger):
                m.d.sync += running.eq(exponent)
        with m.Elif(waits):
            m.d.sync += rise.eq(rise - 1)
        return down, running

    def leading(self, m: Module, magnitude: Value) -> tuple[Value, Signal]:
        """Powers of two by which to shift left so that the first bit is set, as bits; and the magnitude's length."""
        width, moves = len(magnitude), []
        for k in reversed(range((width - 1).bit_length())):
            move, stage = Signal(name=f"move_{k}"), Signal(width, name=f"magnitude_{k}")
            m.d.comb += [
                move.eq(~magnitude[width - (1 << k) :].any()),
                stage.eq(Mux(move, magnitude << (1 << k), magnitude)),
            ]
            magnitude, moves = stage, [move, *moves]
        length = Signal(range(width + 1))
        m.d.comb += length.eq(Mux(magnitude[-1], width - Cat(moves), 0))
        return Cat(moves), length
