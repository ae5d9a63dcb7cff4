"""The weight of a 4-bit digit in its code: see golden.digits."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, signed

from golden.config import Config


def weighted(m: Module, config: Config, step: int, dot: Value, digit: Value, name: str) -> Signal:
    """The dot product of one pass, shifted left by the weight of the digit that it read.

    Digit 0 weighs most, and every digit 2**step times the next.
    """
    total = Signal(signed(len(dot) + step * (config.digits - 1)), name=name)
    with m.Switch(digit):
        for n in range(config.digits):
            with m.Case(n):
                m.d.comb += total.eq(dot << (step * (config.digits - 1 - n)))
    return total
