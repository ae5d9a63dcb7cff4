"""Statistics of a head's keys or values, found in one pass: exponent, mean and reach. See golden.statistics.

rows --> [held] --> (shift, round) --> [elements] --> [totals] --> (x reciprocal of the rows) --> means
            |                               |
    [running exponent]           (sum of magnitudes) --> [reach]
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import Config, unsigned_bits
from golden.formats import FORMATS
from golden.tables import MEAN_RECIPROCAL_BITS
from rtl import layouts
from rtl.align import mantissa, own_exponent
from rtl.streams import delay
from rtl.trees import largest, registered_sum, sum_stages

QUOTIENT_BITS = MEAN_RECIPROCAL_BITS + 2
"""Bits of the reciprocal of the number of rows: for a power of two one more than fits MEAN_RECIPROCAL_BITS + 1."""
MEANS = 4
"""Channels whose means are found per cycle; divides all head dimensions."""


ACTION = data.StructLayout({"begin": 1, "shift": 1, "raised": 1, "add": 1})
"""What is done to the sums in a cycle: `begin` a head; `shift` them by a bit, `raised` with the last bit of a row; or
`add` a row."""


def head_statistics(config: Config) -> data.StructLayout:
    """What is known of all rows of a head: see golden.statistics.Statistics."""
    return data.StructLayout(
        {
            "exponent": FORMATS[config.float_format].exponent_bits,
            "mean": layouts.mean(config),
            "reach": config.reach_bits,
        }
    )


class Statistics(wiring.Component):
    """i: `layouts.row`, 1 to max_tokens rows a head; o: `head_statistics`, one for every head.

    One row per cycle while the running exponent stays. A head's first row takes one cycle more. A row that raises the
    exponent by d takes min(d, total_bits) more, in which totals and reach are shifted one bit each: that is rare, and
    spares a barrel shifter for every channel. Repeated floor shifts by one are a floor shift by their sum.

    `latency` counts from a head's last row, if that raises nothing and the statistics before were taken, to its
    statistics: a restoring divider finds the reciprocal of the number of rows, one bit per cycle, then multipliers the
    means, some channels per cycle. Meanwhile the next head's first row is taken but not added: added are
    the last row of a head and the first of the next `pause` cycles apart.
    """

    def __init__(self, config: Config) -> None:
        self.config, self.form = config, FORMATS[config.float_format]
        super().__init__(
            {"i": In(stream.Signature(layouts.row(config))), "o": Out(stream.Signature(head_statistics(config)))}
        )

    @property
    def pause(self) -> int:
        """Cycles from adding the last row of a head to adding the first row of the next."""
        return QUOTIENT_BITS + self.config.head_dim // MEANS + 2

    @property
    def latency(self) -> int:
        """Cycles from a head's last row to its statistics."""
        return 1 + QUOTIENT_BITS + self.config.head_dim // MEANS + 4

    def elaborate(self, platform) -> Module:
        m = Module()
        config, out = self.config, self.o.payload
        action, adding, last, release = Signal(ACTION), Signal(), Signal(), Signal()
        elements, running = self.rows(m, action, adding, last, release)
        totals, reach = self.sums(m, action, elements)

        rows, length = Signal(unsigned_bits(config.max_tokens)), Signal(range(unsigned_bits(config.max_tokens) + 1))
        remainder, quotient = Signal(len(rows) + 1), Signal(QUOTIENT_BITS)
        counted = rows + 1
        with m.If(action.begin):
            m.d.sync += [rows.eq(0), length.eq(0)]
        with m.If(action.add):
            m.d.sync += rows.eq(counted)
            with m.If((counted & rows) == 0):
                # A power of two: until the next one is reached, the division begins with it.
                m.d.sync += [length.eq(length + 1), remainder.eq(counted)]

        parts = config.head_dim // MEANS
        step, part = Signal(range(QUOTIENT_BITS)), Signal(range(parts))
        down = Signal(range(len(rows)), reset_less=True)
        fits, free, read, last_read = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [fits.eq(remainder >= rows), free.eq(self.o.ready | ~self.o.valid)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("ADD"):
                m.d.comb += adding.eq(1)
                with m.If(action.add & last):
                    m.d.sync += [step.eq(0), part.eq(0)]
                    m.next = "DIVIDE"
            with m.State("DIVIDE"), m.If((step != QUOTIENT_BITS - 1) | free):
                m.d.sync += [
                    step.eq(step + 1),
                    remainder.eq(Mux(fits, remainder - rows, remainder) << 1),
                    quotient.eq(Cat(fits, quotient[:-1])),
                ]
                # By now all rows have come through the adder tree of the reach, which has fewer stages than steps.
                with m.If(step == QUOTIENT_BITS - 1):
                    m.d.sync += [down.eq(length - 1), out.exponent.eq(running), out.reach.eq(reach + config.head_dim)]
                    m.next = "MEAN"
            with m.State("MEAN"):
                m.d.comb += [read.eq(1), last_read.eq(part == parts - 1)]
                m.d.sync += part.eq(part + 1)
                with m.If(last_read):
                    m.d.comb += release.eq(1)
                    m.next = "ADD"
        self.means(m, read, last_read, [Array(totals[n::MEANS])[part] for n in range(MEANS)], quotient, down)
        return m

    def rows(self, m: Module, action, adding: Value, last: Signal, release: Value) -> tuple[list[Signal], Signal]:
        """Takes rows, and says what to do with them while `adding`; `last` goes with the head's last row.

        Returns the elements [head_dim] of the row that was added a cycle before, and the running exponent, which is 0
        from `release` of a head to the beginning of the next.
        """
        config, form = self.config, self.form
        taking, waiting, running = self.i.ready, Signal(), Signal(form.exponent_bits)
        exponent = largest(m, "own", [own_exponent(form, element) for element in self.i.payload.elements])
        exponent = delay(m, taking, exponent, 1, "exponent")
        held = delay(m, taking, self.i.payload, 1, "held")
        # Shifted by total_bits nothing is left: what lies farther below is skipped.
        lowest = Mux(exponent - running > config.total_bits, exponent - config.total_bits, running)
        risen = Signal(form.exponent_bits)
        ready = waiting & adding
        m.d.comb += [
            risen.eq(lowest + 1),
            action.begin.eq(ready & (running == 0)),
            action.shift.eq(ready & (running != 0) & (exponent > running)),
            action.raised.eq(risen == exponent),
            action.add.eq(ready & (exponent <= running)),
            last.eq(held.last),
            taking.eq(~waiting | action.add),
        ]
        with m.If(taking):
            m.d.sync += waiting.eq(self.i.valid)
        with m.If(release):
            m.d.sync += running.eq(0)
        with m.Elif(action.begin):
            m.d.sync += running.eq(exponent)
        with m.Elif(action.shift):
            m.d.sync += running.eq(risen)

        shape = signed(config.input_bits)
        elements = [Signal(shape, name=f"element_{n}", reset_less=True) for n in range(config.head_dim)]
        for n, element in enumerate(elements):
            aligned = mantissa(m, form, config.input_bits, held.elements[n], running, n)
            with m.If(action.add):
                m.d.sync += element.eq(aligned)
        return elements, running

    def sums(self, m: Module, action, elements: list[Signal]) -> tuple[list[Signal], Signal]:
        """Totals [head_dim] and reach of the rows so far. The elements come a cycle after the action."""
        config = self.config
        now = delay(m, 1, action, 1, "now")
        totals = [Signal(signed(config.total_bits), name=f"total_{n}") for n in range(config.head_dim)]
        for total, element in zip(totals, elements, strict=True):
            with m.If(now.begin):
                m.d.sync += total.eq(0)
            with m.Elif(now.shift):
                m.d.sync += total.eq(total >> 1)
            with m.Elif(now.add):
                m.d.sync += total.eq(total + element)

        # |x| = ~x + 1 for negative x: the ones are added up by themselves.
        signs = [element[-1] for element in elements]
        bits = [(element ^ sign.replicate(len(element)))[:-1] for element, sign in zip(elements, signs, strict=True)]
        magnitudes = [*bits, *signs]
        longest = registered_sum(m, 1, magnitudes, config.tree_fanin, "magnitudes")
        late = delay(m, 1, now, sum_stages(len(magnitudes), config.tree_fanin), "late")
        reach = Signal(config.reach_bits)
        with m.If(late.begin):
            m.d.sync += reach.eq(0)
        with m.Elif(late.shift):
            m.d.sync += reach.eq((reach >> 1) + late.raised)
        with m.Elif(late.add & (longest > reach)):
            m.d.sync += reach.eq(longest)
        return totals, reach

    def means(self, m: Module, read, last_read, totals: list[Value], quotient: Value, down: Value) -> None:
        """Four cycles after `read` of some channels' totals their means are in the output, valid after `last_read`.

        The means enter their register at the end; the reach grows by their magnitudes.
        """
        out, bits = self.o.payload, self.config.input_bits
        valid: list[Value] = [Cat(read, last_read)]
        for n in range(3):
            valid.append(Signal(2, name=f"read_{n + 1}"))
            m.d.sync += valid[-1].eq(valid[-2])
        means = []
        for n, total in enumerate(totals):
            product = delay(m, 1, delay(m, 1, total, 1, f"chosen_{n}") * quotient, 1, f"product_{n}")
            mean = Signal(signed(bits), name=f"mean_{n}")
            m.d.comb += mean.eq((((product >> MEAN_RECIPROCAL_BITS) >> down) + Const(1)) >> 1)
            means.append(mean)
        with m.If(valid[2][0]):
            m.d.sync += Value.cast(out.mean).eq(Cat(Value.cast(out.mean)[bits * MEANS :], *means))
        with m.If(valid[3][0]):
            m.d.sync += out.reach.eq(out.reach + sum(abs(out.mean[-1 - n]) for n in range(MEANS)))
        with m.If(valid[3][1]):
            m.d.sync += self.o.valid.eq(1)
