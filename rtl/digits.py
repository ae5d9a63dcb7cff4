"""Codes and the weights of their 4-bit digits: see golden.digits."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed

from golden.config import DIGIT_BITS, DIGIT_MIN, Config, signed_bits
from rtl import layouts
from rtl.trees import balanced_sum


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


def weighing(config: Config, tag: Any) -> Value:
    """The digit whose weight the dot product of a pass has: the one that it read; of whole codes, the last."""
    return Mux(tag.whole, config.digits - 1, tag.digit) if layouts.whole(config) else tag.digit


def number(config: Config, step: int, code: Value) -> Value:
    """A whole code as a number, the first digit at its top: three bits of each digit count positively, its sign not.

    So it takes a single subtraction, as the signs have places of their own, and so have the others with step >= 3.
    """
    digits = [code[low : low + DIGIT_BITS] for low in range(0, DIGIT_BITS * config.digits, DIGIT_BITS)]
    bits = balanced_sum([digit[:-1] << (step * n) for n, digit in enumerate(digits)])
    signs = balanced_sum([digit[-1] << (step * n + DIGIT_BITS - 1) for n, digit in enumerate(digits)])
    most = -DIGIT_MIN * sum(config.digit_weights(step))
    return (bits - signs)[: signed_bits(most)].as_signed()
