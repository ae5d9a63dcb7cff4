"""Styles of the multiplier's tables: what is stored of an operand, and how a 4-bit digit reads it.

A style joins `span` neighbouring operands in one table. `fill` gives the table's entries, `read` the addends whose
sum is the dot product of the joined operands and one digit each; a digit is two's complement, -8..7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from amaranth.hdl import Array, C, Cat, Mux, Value, signed

from golden.config import DIGIT_BITS, DIGIT_MAX, DIGIT_MIN


class TableStyle(Protocol):
    """What the multiplier asks of a style."""

    span: int
    """operands joined in one table"""
    offset: int
    """what a table adds to the sum of its addends"""

    def entry_shapes(self, bits: int) -> list:
        """Shapes of the entries for operands of `bits` bits."""
        ...

    def fill(self, operands: Sequence[Value]) -> list[Value]:
        """The entries for `span` operands."""
        ...

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Value]:
        """Signed addends of one reader."""
        ...


def gate(select: Value, value: Value) -> Value:
    """`value` where `select` is high, else 0: one AND gate a bit."""
    return value & Cat(select).replicate(len(value)).as_signed()


class OddTable:
    """Odd multiples {1, 3, 5, 7}: every |digit| is one of them, shifted. One-hot AND-OR selection suits gates.

    The sign is applied as a ones' complement and a carry, so that no reader needs an adder of its own.
    """

    span = 1
    offset = 0
    multiples = (1, 3, 5, 7)

    def entry_shapes(self, bits: int) -> list:
        return [signed(bits + multiple.bit_length() - (multiple == 1)) for multiple in self.multiples]

    def fill(self, operands: Sequence[Value]) -> list[Value]:
        (m,) = operands
        return [m, m + (m << 1), m + (m << 2), (m << 3) - m]

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Value]:
        (digit,) = digits
        negative = digit[-1]
        magnitude = Mux(negative, -digit, digit)[:DIGIT_BITS]
        width = len(entries[0]) + DIGIT_BITS - 1  # that of -DIGIT_MIN times the operand
        chosen = C(0, signed(width))
        for size in range(1, -DIGIT_MIN + 1):
            shift = (size & -size).bit_length() - 1
            entry = entries[self.multiples.index(size >> shift)]
            chosen = chosen | gate(magnitude == size, entry << shift)
        inverted = (chosen[:width] ^ negative.replicate(width)).as_signed()
        return [inverted, Cat(negative, C(0, 1)).as_signed()]


class PairTable:
    """Joint table {a, b, a + b} of two operands: every bit plane of their digits selects one entry (or none).

    A two-input selection with its inversion fits one 4-input LUT a bit, which makes this the style of choice for
    FPGAs (bit-plane tables: FIGLUT, HPCA 2025; LUT Tensor Core, ISCA 2025).
    """

    span = 2
    offset = -DIGIT_MIN

    def entry_shapes(self, bits: int) -> list:
        return [signed(bits), signed(bits), signed(bits + 1)]

    def fill(self, operands: Sequence[Value]) -> list[Value]:
        a, b = operands
        return [a, b, a + b]

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Value]:
        a, b, both = entries
        addends = []
        for plane in range(DIGIT_BITS):
            in_a, in_b = digits[0][plane], digits[1][plane]
            chosen = Mux(in_b, Mux(in_a, both, b), Mux(in_a, a, 0))
            if plane < DIGIT_BITS - 1:
                addends.append(chosen << plane)
            else:  # the sign plane weighs -8: the ones' complement, whose carry is in the offset
                addends.append((~chosen) << plane)
        return addends


class FullTable:
    """All sixteen multiples: a reader is nothing but a 16:1 multiplexer. The plainest table, and the largest."""

    span = 1
    offset = 0

    def entry_shapes(self, bits: int) -> list:
        return [signed(bits + DIGIT_BITS - 1)] * (1 << DIGIT_BITS)

    def fill(self, operands: Sequence[Value]) -> list[Value]:
        odd: dict[int, Value] = dict(zip(OddTable.multiples, OddTable().fill(operands), strict=True))
        multiples: dict[int, Value] = {0: C(0, signed(1))}
        for size in range(1, -DIGIT_MIN + 1):
            shift = (size & -size).bit_length() - 1
            multiples[size] = odd[size >> shift] << shift
            multiples[-size] = -multiples[size]
        in_order = [*range(DIGIT_MAX + 1), *range(DIGIT_MIN, 0)]  # as two's complement digits index them
        return [multiples[digit] for digit in in_order]

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Value]:
        (digit,) = digits
        return [Array(entries)[digit]]


STYLES: dict[str, TableStyle] = {"odd": OddTable(), "pairs": PairTable(), "full": FullTable()}
