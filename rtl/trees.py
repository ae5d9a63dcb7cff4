"""Balanced trees of two-input operators, and registered ones of sums."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from amaranth.hdl import Module, Mux, Signal, Value, ValueLike

from rtl.streams import delay


def tree(combine: Callable[[Value, Value], Value], values: Sequence[ValueLike]) -> Value:
    """The values combined pairwise, in as few levels as possible."""
    level = [Value.cast(v) for v in values]
    while len(level) > 1:
        pairs = [combine(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def balanced_sum(values: Sequence[ValueLike]) -> Value:
    """The sum; exact, the result is as wide as needed."""
    return tree(lambda a, b: a + b, values)


def largest(m: Module, name: str, values: Iterable[ValueLike]) -> Value:
    """The largest of the values.

    All that is compared is a signal, called `name` and a number: Amaranth writes an expression out wherever it is used,
    which in a tree of Mux is at every level anew.
    """

    def named(value: Value) -> Value:
        signal = Signal(value.shape(), name=f"{name}_{next(count)}")
        m.d.comb += signal.eq(value)
        return signal

    count = itertools.count()
    return tree(lambda a, b: named(Mux(a > b, a, b)), [named(Value.cast(value)) for value in values])


def sum_stages(addends: int, fanin: int) -> int:
    """Registers of `registered_sum`."""
    stages = 0
    while addends > 1:
        addends, stages = -(-addends // fanin), stages + 1
    return stages


def registered_sum(m: Module, enable: ValueLike, values: Sequence[Value], fanin: int, name: str) -> Value:
    """The exact sum of values, after `sum_stages` cycles of `enable`: a register behind every `fanin` addends."""
    level = 0
    while len(values) > 1:
        sums = [balanced_sum(values[n : n + fanin]) for n in range(0, len(values), fanin)]
        values = [delay(m, enable, each, 1, f"{name}_{level}_{n}") for n, each in enumerate(sums)]
        level += 1
    return values[0]
