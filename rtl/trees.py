"""Balanced trees of two-input operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amaranth.hdl import Mux, Value, ValueLike


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


def largest(values: Sequence[ValueLike]) -> Value:
    """The largest of the values."""
    return tree(lambda a, b: Mux(a > b, a, b), values)
