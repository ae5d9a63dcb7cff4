"""From integers to floating-point numbers: the leading one, subnormal results, rounding to nearest, ties to even."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from golden.formats import FloatFormat


def leading(m: Module, value: Value, bits: int, name: str) -> tuple[Value, Signal]:
    """The first `bits` bits of an unsigned value from its leading one on, and the value's bit length."""
    shifted, length = value, Const(len(value))
    width = len(value)
    for k in reversed(range((width - 1).bit_length())):
        stage = Signal(width, name=f"{name}_shifted_{k}")
        empty = Signal(name=f"{name}_empty_{k}")
        m.d.comb += [empty.eq(~shifted[width - (1 << k) :].any()), stage.eq(Mux(empty, shifted << (1 << k), shifted))]
        shifted, length = stage, length - (empty << k)
    result = Signal(range(width + 1), name=f"{name}_length")
    m.d.comb += result.eq(Mux(shifted[-1], length, 0))
    return (shifted[width - bits :] if width >= bits else Cat(Const(0, bits - width), shifted)), result


def denormalising(form: FloatFormat, exponent: Value) -> Value:
    """By how much the significand of a number of this biased exponent is shifted right, which is subnormal below 1.

    At most significand_bits + 1: shifted by more it rounds to zero as well.
    """
    most = form.significand_bits + 1
    return Mux(exponent >= 1, 0, Mux(exponent < 1 - most, most, 1 - exponent))[: most.bit_length()]


def rounded(form: FloatFormat, negative: Value, exponent: Value, number: Value, split: int) -> Value:
    """The word of a number that has its significand, shifted as `denormalising` says, from bit `split` on.

    What lies below decides the rounding: to nearest, ties to even; a carry moves into the exponent by itself. Beyond
    the largest number is infinity.
    """
    kept, half, rest = number[split:], number[split - 1], number[: split - 1].any()
    above = Mux(exponent >= 1, exponent - 1, 0).as_unsigned()
    packed = (above << form.fraction_bits) + kept + (half & (rest | kept[0]))
    infinity = form.exponent_max << form.fraction_bits
    return Cat(Mux(packed > infinity, infinity, packed)[: form.bits - 1], negative)
