"""Floating-point dot products, what the integer datapath is measured against: see golden.float_dot.

                a * b      c              a * b ... a * b            integer
                  |        |                |         |                 |
               (exchange, the larger first) |      (largest exponent)   |
                  |        |                |         |                 |
                  |     (shift)          (shift) ... (shift)            |
                  |        |                |         |                 |
                  +-(add)--+                +--(add)--+                 |
                      |                          |                      |
                 (normalise)                (normalise)            (normalise)

All combinational, latency 0, without any register, and as small as we know how: whoever measures them adds registers.
`adder` is the form of the sums of many terms, a key of rtl.adders.ADDERS: "carry" leaves multiplications and additions
to synthesis, for FPGAs; "save" is smaller in gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import FP16
from rtl.adders import ADDERS, Term

BITS, FRACTION_BITS, FIELD_BITS, BIAS = 32, 23, 8, 127
"""FP32 (IEEE 754-2019, section 3.6)."""
SIGNIFICAND_BITS = FRACTION_BITS + 1
PRODUCT_BITS = 2 * FP16.significand_bits


class Product(NamedTuple):
    """An exact product of normal FP16 numbers: significand * 2**(exponent - 2 * bias - 20), if it is `live`."""

    significand: Signal
    exponent: Signal
    """sum of the exponent fields"""
    negative: Signal
    live: Signal
    """neither factor is zero"""


class Number(NamedTuple):
    """A normalised number, rounded to FP32. If it is zero, only `some` and `fraction` are."""

    negative: Value
    field: Value
    """exponent field, as wide and signed as needed"""
    fraction: Value
    some: Value

    @property
    def bits(self) -> Value:
        """FP32, if it is in range."""
        return Cat(self.fraction, Cat(self.field[:FIELD_BITS], self.negative) & self.some.replicate(FIELD_BITS + 1))


def multiply(m: Module, a: Value, b: Value, adder: str, name: str) -> Product:
    """The product of two FP16 numbers. If a factor is zero, only its `live` and `negative` mean anything."""
    split, top = FP16.fraction_bits, FP16.bits - 1
    x, y = (Cat(factor[:split], Const(1, 1)) for factor in (a, b))
    rows = [Term(x & bit.replicate(len(x)), n) for n, bit in enumerate(y)]
    product = Product(
        Signal(PRODUCT_BITS, name=f"{name}_significand"),
        Signal(FP16.exponent_bits + 1, name=f"{name}_exponent"),
        Signal(name=f"{name}_negative"),
        Signal(name=f"{name}_live"),
    )
    m.d.comb += [
        product.significand.eq(x * y if adder == "carry" else ADDERS[adder](m, name, rows, 0, PRODUCT_BITS)),
        product.exponent.eq(a[split:top] + b[split:top]),
        product.negative.eq(a[top] ^ b[top]),
        product.live.eq(a[split:top].any() & b[split:top].any()),
    ]
    return product


def add(a: Value, b: Value, carry: Value) -> Value:
    """a + b + carry of unsigned numbers by a single adder, whose carry chain the lowest bit feeds."""
    return (Cat(Const(1, 1), a) + Cat(carry, b))[1:]


def shift_right(m: Module, value: Value, distance: Value, clear: Value, name: str) -> tuple[Value, Value]:
    """`value` shifted right, and whether this dropped a one; both zero with `clear`.

    The largest stage comes first: it leaves many bits to which later ones only ever shift zeros.
    """
    lost: Value = Const(0, 1)
    width = len(value)
    for k in reversed(range(len(distance))):
        step = min(1 << k, width)
        move, stay = Signal(name=f"{name}_move_{k}"), Signal(name=f"{name}_stay_{k}")
        stage = Signal(width, name=f"{name}_{k}")
        m.d.comb += [
            move.eq(distance[k] & ~clear),
            stay.eq(~(distance[k] | clear)),
            stage.eq((value & stay.replicate(width)) | (value[step:] & move.replicate(width - step))),
        ]
        lost = lost | (move & value[:step].any())
        value, clear = stage, Const(0, 1)
    return value, lost


def round_up(kept: Value, rest: Value, more: Value) -> Value:
    """Whether to increment `kept`, as rounding to nearest, ties to even, of the number of which `rest` is the tail.

    With `more`, the number is larger than its bits by one unit of its last place.
    """
    if not len(rest):
        return more
    some = (rest[:-1] ^ more.replicate(len(rest) - 1)).any() if len(rest) > 1 else Const(0, 1)
    return Mux(more, rest[-1] | (kept[0] & ~some), rest[-1] & (kept[0] | some))


def normalise(m: Module, integer: Value, exponent: Value, offset: int, name: str) -> Number:
    """FP32 of a signed integer times 2**(exponent + offset).

    A negative integer that may need rounding is inverted and shifted left with ones behind it. This is one less than
    its magnitude, and the increment of the rounding makes up for it. A shorter one is negated first, which is smaller.
    Leading zeros are counted by the stages of the shifter.
    """
    negative, exact = integer[-1], len(integer) <= SIGNIFICAND_BITS
    inverted = integer ^ negative.replicate(len(integer))
    shifted = (inverted + negative)[: len(integer)] if exact else inverted[:-1]
    behind = Const(0, 1) if exact else negative
    width, full = len(shifted), []
    for k in reversed(range((width - exact).bit_length())):
        step = 1 << k
        occupied = Signal(name=f"{name}_occupied_{k}")
        stage = Signal(width, name=f"{name}_shifted_{k}")
        m.d.comb += [
            occupied.eq(shifted[width - step :].any()),
            stage.eq(Mux(occupied, shifted, Cat(behind.replicate(step), shifted[: width - step]))),
        ]
        shifted, full = stage, [occupied, *full]

    # The number of places not shifted, `full`, is the position of the leading one but for a constant.
    dropped = max(0, width - SIGNIFICAND_BITS)
    kept, rest = shifted[dropped:], shifted[:dropped]
    rounded = Signal(len(kept), name=f"{name}_rounded")
    m.d.comb += rounded.eq(kept[:-1] + round_up(kept, rest, behind))
    bias = BIAS + offset + width - (1 << len(full))
    field = Signal((exponent + bias + Cat(full) + 1).shape(), name=f"{name}_field")
    base = Signal.like(field, name=f"{name}_base")
    m.d.comb += [base.eq(exponent + bias), field.eq(add(base, Cat(full), rounded[-1]))]
    fraction = Cat(Const(0, SIGNIFICAND_BITS - len(kept)), rounded[:-1])
    return Number(negative, field, fraction, shifted[-1])


class MultiplyAdd(wiring.Component):
    """c + a * b, rounded once: see golden.float_dot.multiply_add.

    a, b: FP16. c, o: FP32. What has the larger exponent stays where it is, and the other one is shifted to it. Counting
    from the last bit of c, the product has its first bit at 24 or 23. If one is shifted by more than it takes to be
    exact, the sum starts no lower than at 22; so two bits below those of c are enough to round, and one bit that tells
    whether any one was dropped.
    """

    guard_bits = 2

    def __init__(self, adder: str = "carry") -> None:
        self.adder = adder
        super().__init__({"a": In(FP16.bits), "b": In(FP16.bits), "c": In(BITS), "o": Out(BITS)})

    def elaborate(self, platform) -> Module:
        m = Module()
        product = multiply(m, self.a, self.b, self.adder, "product")
        c_field, c_negative = self.c[FRACTION_BITS : BITS - 1], self.c[-1]

        # The fields that the two would have with a leading one at 23, and which is larger.
        field = Signal(FIELD_BITS)
        difference = Signal(signed(FIELD_BITS + 1))
        exchange = Signal()
        m.d.comb += [
            field.eq(product.exponent + (BIAS - 2 * FP16.bias)),
            difference.eq(c_field - field),
            exchange.eq((difference < 0) & product.live),
        ]

        # The difference inverted is one less than its magnitude: that shift by one is wired.
        wide_product = product.significand << (SIGNIFICAND_BITS + 1 - PRODUCT_BITS + self.guard_bits)
        wide_c = Cat(Const(0, self.guard_bits), self.c[:FRACTION_BITS], c_field.any())
        larger, smaller = Signal(len(wide_product)), Signal(len(wide_product))
        distance = Signal(FIELD_BITS)
        m.d.comb += [
            larger.eq(Mux(exchange, wide_product, wide_c)),
            smaller.eq(Mux(exchange, wide_c >> 1, wide_product)),
            distance.eq(difference[:FIELD_BITS] ^ exchange.replicate(FIELD_BITS)),
        ]
        aligned, sticky = self.align(m, smaller, distance, product.live)

        # A difference below zero is exact, its sticky bit is zero.
        subtract, total = Signal(), Signal(len(larger) + 1)
        m.d.comb += [
            subtract.eq(product.negative ^ c_negative),
            total.eq(add(larger, aligned ^ subtract.replicate(len(aligned)), subtract & ~sticky)),
        ]
        integer = Cat(sticky, total[:-1], total[-1] ^ subtract, subtract & ~total[-1]).as_signed()
        offset = -(BIAS + FRACTION_BITS + self.guard_bits + 1)
        number = normalise(m, integer, Mux(exchange, field, c_field), offset, "sum")
        negative = Mux(exchange, product.negative, c_negative) ^ number.negative
        m.d.comb += self.o.eq(number._replace(negative=negative).bits)
        return m

    def align(self, m: Module, value: Value, distance: Value, live: Value) -> tuple[Value, Value]:
        """The smaller operand, shifted right by `distance`; and whether a one was dropped.

        What lies entirely out of the way might as well be zero: the larger operand needs no rounding.
        """
        stages = (len(value) - 1).bit_length()
        return shift_right(m, value, distance[:stages], distance[stages:].any() | ~live, "aligned")


class FusedDot(wiring.Component):
    """Dot product of aligned products: see golden.float_dot.fused_dot.

    a, b: `operands` FP16 numbers. o: FP32.
    """

    def __init__(self, operands: int, keep_bits: int, adder: str = "carry") -> None:
        self.operands, self.keep_bits, self.adder = operands, keep_bits, adder
        vector = data.ArrayLayout(FP16.bits, operands)
        super().__init__({"a": In(vector), "b": In(vector), "o": Out(BITS)})

    @property
    def sum_bits(self) -> int:
        """Bits of the signed sum."""
        return self.keep_bits + (self.operands - 1).bit_length() + 1

    def elaborate(self, platform) -> Module:
        m = Module()
        products = [multiply(m, self.a[n], self.b[n], self.adder, f"product_{n}") for n in range(self.operands)]
        largest = self.largest(m, products)
        total = Signal(signed(self.sum_bits))
        m.d.comb += total.eq(ADDERS[self.adder](m, "row", *self.terms(m, products, largest), self.sum_bits))
        m.d.comb += self.o.eq(normalise(m, total, largest, 2 - 2 * FP16.bias - self.keep_bits, "sum").bits)
        return m

    def largest(self, m: Module, products: Sequence[Product]) -> Signal:
        """The largest exponent among the live products, 0 if there is none.

        Bit by bit from the top, products with a zero drop out where another one has a one: smaller than comparators.
        """
        largest = Signal.like(products[0].exponent, name="largest")
        left = Cat(product.live for product in products)
        for k in reversed(range(len(largest))):
            bits, stay = Cat(product.exponent[k] for product in products), Signal(self.operands, name=f"left_{k}")
            m.d.comb += largest[k].eq((left & bits).any())
            m.d.comb += stay.eq(left & (bits | ~largest[k].replicate(self.operands)))
            left = stay
        return largest

    def terms(self, m: Module, products: Sequence[Product], largest: Value) -> tuple[list[Term], int]:
        """Unsigned terms and a constant, whose sum modulo 2**sum_bits is that of the aligned products.

        With the sign s and the magnitude x, inverted if s, a product is x + s - s * 2**keep_bits, and the last of
        these (1 - s) * 2**keep_bits less a constant. So no sign is extended, and the s are carries.
        """
        signs = [product.negative for product in products]
        aligned = (self.aligned(m, n, product, largest) for n, product in enumerate(products))
        values = [Cat(x ^ s.replicate(self.keep_bits), ~s) for x, s in zip(aligned, signs, strict=True)]
        return [Term(value) for value in (*values, *signs)], (-self.operands << self.keep_bits) % (1 << self.sum_bits)

    def aligned(self, m: Module, n: int, product: Product, largest: Value) -> Value:
        """The first `keep_bits` bits of a product's significand, shifted to the largest exponent."""
        distance = Signal.like(product.exponent, name=f"distance_{n}")
        m.d.comb += distance.eq(largest - product.exponent)
        value = Cat(Const(0, self.keep_bits), product.significand)[PRODUCT_BITS:]
        stages = min(len(distance), (self.keep_bits - 1).bit_length())
        clear = distance[stages:].any() | ~product.live
        return shift_right(m, value, distance[:stages], clear, f"aligned_{n}")[0]


class ToFloat(wiring.Component):
    """A signed integer times 2**exponent as FP32: see golden.float_dot.to_float.

    integer: signed. exponent: signed. o: FP32. Results out of range cost logic only if the widths admit them.
    """

    def __init__(self, integer_bits: int, exponent_bits: int) -> None:
        self.integer_bits, self.exponent_bits = integer_bits, exponent_bits
        super().__init__({"integer": In(signed(integer_bits)), "exponent": In(signed(exponent_bits)), "o": Out(BITS)})

    def elaborate(self, platform) -> Module:
        m = Module()
        number = normalise(m, self.integer, self.exponent, 0, "number")
        negative, field, fraction, some = number
        span, infinity = 1 << (self.exponent_bits - 1), (1 << FIELD_BITS) - 1
        if BIAS - span < 1:
            some = some & (field > 0)
            fraction = Mux(some, fraction, 0)
        if BIAS + span - 1 + self.integer_bits - 1 >= infinity:
            over = field >= infinity
            field, fraction = Mux(over, infinity, field), Mux(over, 0, fraction)
        m.d.comb += self.o.eq(Number(negative, field, fraction, some).bits)
        return m
