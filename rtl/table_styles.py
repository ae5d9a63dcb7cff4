"""Styles of the multiplier's tables: what is stored of an operand, and how a 4-bit digit reads it.

A style joins `span` neighbouring operands in one table. `fill` gives the table's entries, `read` the terms whose sum
is the dot product of the joined operands and one digit each; a digit is two's complement, -8..7. Two styles have no
table at all: they multiply, for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from amaranth.hdl import Array, C, Cat, Mux, Value, signed

from golden.config import DIGIT_BITS, DIGIT_MAX, DIGIT_MIN
from rtl.adders import Term


class TableStyle(Protocol):
    """What the multiplier asks of a style."""

    span: int
    """operands joined in one table"""
    digit_bits: int
    """bits that a reader takes of each code at once"""
    bias: int
    """multiple of the sum of all operands that is to be added to the terms of all tables"""
    halved: bool
    """whether terms and bias sum up to twice the dot product"""
    inverting: bool
    """whether gates select the complement of an entry with less effort than the entry"""

    def entry_shapes(self, bits: int) -> list:
        """Shapes of the entries for operands of `bits` bits."""
        ...

    def fill(self, operands: Sequence[Value]) -> list[Value]:
        """The entries for `span` operands."""
        ...

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Term]:
        """The terms of one reader."""
        ...


def one_hot(entries: Sequence[Value], selects: Sequence[Value]) -> Value:
    """The entry whose select is high, else 0: AND gates and an OR, which suits gates; on LUTs it is a multiplexer."""
    width = max(len(entry) for entry in entries)
    chosen: Value = C(0, signed(width))
    for entry, select in zip(entries, selects, strict=True):
        chosen = chosen | (entry & Cat(select).replicate(width).as_signed())
    return chosen[:width].as_signed()


def negated(value: Value, negative: Value) -> list[Term]:
    """The value, negated where `negative`: its ones' complement and a carry, so that no reader needs another adder."""
    return [Term((value ^ negative.replicate(len(value)).as_signed())[: len(value)].as_signed()), Term(negative)]


def shifted(terms: Sequence[Term], shift: int) -> list[Term]:
    """The terms, times 2**shift."""
    return [Term(term.value, term.shift + shift, term.negative) for term in terms]


class Plain:
    """A style whose terms are the dot product as they stand."""

    span = 1
    digit_bits = DIGIT_BITS
    bias = 0
    halved = False
    inverting = False


class Multiply(Plain):
    """No table: a multiplier for each product, left to the synthesis tool; `digit_bits` may be the whole code's."""

    def __init__(self, digit_bits: int = DIGIT_BITS) -> None:
        self.digit_bits = digit_bits

    def entry_shapes(self, bits: int) -> list:
        return [signed(bits)]

    def fill(self, operands: Sequence[Value]) -> list[Value]:
        return list(operands)

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Term]:
        return [Term((entries[0] * digits[0].as_signed()).as_signed())]


class Booth(Multiply):
    """No table: radix-4 partial products {-2, -1, 0, 1, 2} times the operand (Booth, 1951; MacSorley, 1961)."""

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Term]:
        (operand,), (digit,) = entries, digits
        terms: list[Term] = []
        for low in range(0, self.digit_bits, 2):
            before, here, sign = digit[low - 1] if low else C(0), digit[low], digit[low + 1]
            once = here ^ before
            twice = (sign & ~here & ~before) | (~sign & here & before)
            terms += shifted(negated(one_hot([operand, operand << 1], [once, twice]), sign), low)
        return terms


class OddTable(Plain):
    """Odd multiples {1, 3, 5, 7}: every |digit| is one of them, shifted."""

    multiples = (1, 3, 5, 7)

    def entry_shapes(self, bits: int) -> list:
        return [signed(bits + multiple.bit_length() - (multiple == 1)) for multiple in self.multiples]

    def fill(self, operands: Sequence[Value]) -> list[Value]:
        (m,) = operands
        return [m, m + (m << 1), m + (m << 2), (m << 3) - m]

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Term]:
        (digit,) = digits
        negative = digit[-1]
        magnitude = Mux(negative, -digit, digit)[:DIGIT_BITS]
        sizes = range(1, -DIGIT_MIN + 1)
        shifts = [(size & -size).bit_length() - 1 for size in sizes]
        multiples = [
            entries[self.multiples.index(size >> shift)] << shift for size, shift in zip(sizes, shifts, strict=True)
        ]
        return negated(one_hot(multiples, [magnitude == size for size in sizes]), negative)


class FullTable(Plain):
    """All sixteen multiples: a reader is nothing but a 16:1 multiplexer. The plainest table, and the largest."""

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

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Term]:
        (digit,) = digits
        return [Term(Value.cast(Array(entries)[digit]).as_signed())]


class PairTable(Plain):
    """Joint table {a, b, a + b} of two operands: every bit plane of their digits selects one entry, or none.

    Three entries, so that a complex gate (AND-OR-invert) selects a bit, and four planes, so that two operands cost as
    many terms as with Booth's digits, but no signs: the sign plane is subtracted as a whole.
    """

    span = 2
    inverting = True

    def entry_shapes(self, bits: int) -> list:
        return [signed(bits), signed(bits), signed(bits + 1)]

    def fill(self, operands: Sequence[Value]) -> list[Value]:
        a, b = operands
        return [a, b, a + b]

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Term]:
        terms = []
        for plane in range(DIGIT_BITS):
            in_a, in_b = digits[0][plane], digits[1][plane]
            chosen = one_hot(entries, [in_a & ~in_b, ~in_a & in_b, in_a & in_b])
            terms.append(Term(chosen, plane, negative=plane == DIGIT_BITS - 1))
        return terms


class HalfTable:
    """Half of the joint table {a +- b +- ...} of several operands: the other half are the negatives.

    A bit plane stands for factors of 1 and -1 in place of 1 and 0, which sum up to twice the digit and 1 (bit-plane
    tables: FIGLUT, HPCA 2025, section III; LUT Tensor Core, ISCA 2025).
    """

    digit_bits = DIGIT_BITS
    bias = -1
    halved = True
    inverting = False

    def __init__(self, span: int) -> None:
        self.span = span

    def entry_shapes(self, bits: int) -> list:
        return [signed(bits + (self.span - 1).bit_length())] * (1 << (self.span - 1))

    def fill(self, operands: Sequence[Value]) -> list[Value]:
        first, *others = operands
        entries = [first]
        for operand in others:
            entries = [entry + operand for entry in entries] + [entry - operand for entry in entries]
        return entries

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Term]:
        terms: list[Term] = []
        for plane in range(DIGIT_BITS):
            first, *others = (digit[plane] for digit in digits)
            unlike = Cat(bit ^ first for bit in others)
            chosen = one_hot(entries, [unlike == n for n in range(len(entries))])
            # The first operand's factor is -1 where its bit is 0; in the sign plane all factors are the other way.
            terms += shifted(negated(chosen, first if plane == DIGIT_BITS - 1 else ~first), plane)
        return terms


class SignedTable(Plain):
    """{m, 2m, -m}: a digit plus 3 is two radix-4 digits in {-1, 0, 1, 2}, so the table is wires and one negation.

    What is added to the digits is taken off again for all operands and readers at once, in the bias.
    """

    bias = -3
    inverting = True

    def entry_shapes(self, bits: int) -> list:
        return [signed(bits), signed(bits)]

    def fill(self, operands: Sequence[Value]) -> list[Value]:
        (m,) = operands
        return [m, -m]

    def read(self, entries: Sequence[Value], digits: Sequence[Value]) -> list[Term]:
        (m, minus_m), (digit,) = entries, digits
        low, high = digit[:2], digit[2:]
        multiples = [minus_m, m, m << 1]
        return [
            Term(one_hot(multiples, [low == n for n in (0b00, 0b10, 0b11)])),
            Term(one_hot(multiples, [high == n for n in (0b10, 0b00, 0b01)]), 2),
        ]


STYLES: dict[str, TableStyle] = {
    "multiply": Multiply(),
    "booth": Booth(),
    "odd": OddTable(),
    "full": FullTable(),
    "pairs": PairTable(),
    "signed": SignedTable(),
    "half_pairs": HalfTable(2),
    "half_triples": HalfTable(3),
    "half_quads": HalfTable(4),
}
