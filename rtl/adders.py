"""Sums of many terms: along carry chains, as FPGAs have them, or in carry-save form, as gates want it.

In carry-save form the bits of all terms are gathered in columns by weight. Full adders turn three bits of a column
into one and a carry to the next, until two rows are left (Dadda, "Some schemes for parallel multipliers", 1965), and
only the addition of these propagates carries. Bits that count negatively, the sign bits among them, have columns of
their own: signs are neither extended nor inverted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from amaranth.hdl import C, Cat, Module, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.library import Named
from rtl.trees import balanced_sum

Columns = list[list[Value]]
"""Bits by weight: those of column c weigh 2**c."""


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of a sum: value * 2**shift, subtracted if `negative`."""

    value: Value
    shift: int = 0
    negative: bool = False


def complemented(terms: Iterable[Term]) -> tuple[list[Term], int]:
    """The same terms, of signed values, by the complements of these, and the constant that then is to be added.

    x = -~x - 1: where a selection yields the complement of what it selects, no bit needs an inverter.
    """
    turned = [Term(~term.value, term.shift, not term.negative) for term in terms]
    return turned, sum((1 if term.negative else -1) << term.shift for term in terms)


def carry_sum(m: Module, name: str, terms: Sequence[Term], offset: int, bits: int) -> Value:
    """The sum of the terms and a constant, as a tree of two-input additions; signed, at most `bits` bits."""
    added, subtracted = (
        [term.value << term.shift for term in terms if term.negative is negative] for negative in (False, True)
    )
    if offset:
        added.append(C(offset, signed(offset.bit_length() + 1)))
    total = balanced_sum(added) if added else C(0, signed(1))
    if subtracted:
        total = total - balanced_sum(subtracted)
    return total[:bits].as_signed()


def save_sum(m: Module, name: str, terms: Sequence[Term], offset: int, bits: int) -> Value:
    """The sum of the terms and a constant modulo 2**bits, signed, in carry-save form up to the last addition.

    The rows of full adders become submodules of `m`, called `name` and a number.
    """
    plus: Columns = [[] for _ in range(bits)]
    minus: Columns = [[] for _ in range(bits)]
    for term in terms:
        for n, bit in enumerate(term.value[: max(0, bits - term.shift)]):
            sign = term.value.shape().signed and n == len(term.value) - 1
            (minus if sign != term.negative else plus)[term.shift + n].append(bit)
    rows = Rows(m, name)
    plus, minus = rows.compress(plus), rows.compress(minus)
    for column, subtracted in enumerate(minus):  # -b = ~b - 1
        plus[column] += [~bit for bit in subtracted]
        offset -= len(subtracted) << column
    for column in range(bits):
        if (offset >> column) & 1:
            plus[column].append(C(1))
    first, second = zip(*((*column, C(0), C(0))[:2] for column in rows.compress(plus)), strict=True)
    return (Cat(first) + Cat(second))[:bits].as_signed()


class CarrySave(wiring.Component):
    """A row of full adders: a + b + c = sum + 2 * carry. Combinational.

    A module of its own, so that synthesis can put the full adders of a cell library in its place.
    """

    def __init__(self, width: int) -> None:
        super().__init__({"a": In(width), "b": In(width), "c": In(width), "sum": Out(width), "carry": Out(width)})

    def elaborate(self, platform) -> Module:
        m = Module()
        differ = self.a ^ self.b
        m.d.comb += [self.sum.eq(differ ^ self.c), self.carry.eq((differ & self.c) | (self.a & self.b))]
        return m


class Rows:
    """Compresses columns of bits; its full adders, those of neighbouring columns in one row, go into a module."""

    def __init__(self, m: Module, name: str) -> None:
        self.m, self.name, self.count = m, name, 0

    def compress(self, columns: Columns) -> Columns:
        """Columns of at most two bits with the same sum, modulo 2**len(columns).

        In stages, each of which leaves no column higher than the next of 2, 3, 4, 6, 9, 13, ...: with as few full
        adders and as few stages as there can be.
        """
        heights = [2]
        while heights[-1] < max(map(len, columns)):
            heights.append(heights[-1] * 3 // 2)
        for height in reversed(heights[:-1]):
            columns = self.stage(columns, height)
        return columns

    def stage(self, columns: Columns, height: int) -> Columns:
        """Columns of at most `height` bits."""
        rows: list[dict[int, tuple[Value, ...]]] = []  # of full adders, by their column
        result: Columns = []
        carries = 0
        for column, bits in enumerate(columns):
            excess = len(bits) + carries - height
            carries = max(0, (excess + 1) // 2)
            taken = 0
            for row in range(carries):
                inputs = 2 if excess - 2 * row == 1 else 3  # a half adder takes off the last bit
                if row == len(rows):
                    rows.append({})
                rows[row][column] = (*bits[taken : taken + inputs], C(0))[:3]
                taken += inputs
            result.append(bits[taken:])
        for row in rows:
            for run in runs(row):
                adders = CarrySave(len(run))
                self.m.submodules[f"{self.name}_{self.count}"] = Named(adders, f"carry_save_{len(run)}")
                self.count += 1
                for port, bits in zip(
                    (adders.a, adders.b, adders.c), zip(*(row[c] for c in run), strict=True), strict=True
                ):
                    self.m.d.comb += port.eq(Cat(bits))
                for n, column in enumerate(run):
                    result[column].append(adders.sum[n])
                    if column + 1 < len(columns):
                        result[column + 1].append(adders.carry[n])
        return result


def runs(indices: Iterable[int]) -> list[list[int]]:
    """Ascending indices, cut where one is missing."""
    found: list[list[int]] = []
    for index in indices:
        if not found or found[-1][-1] != index - 1:
            found.append([])
        found[-1].append(index)
    return found


ADDERS: dict[str, Callable[[Module, str, Sequence[Term], int, int], Value]] = {"carry": carry_sum, "save": save_sum}
