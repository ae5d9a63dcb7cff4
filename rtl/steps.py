"""Steps that follow each other, from their declaration: see golden.control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.hdl import Const, Module, Value

from golden.control import Step


def in_turn(m: Module, steps: Sequence[Step], streams: Mapping[str, Any]) -> dict[str, Value]:
    """A state for every step, one after the other, again and again; returns which of them it is, by name.

    A step ends with the transfer of the word of its stream that has the mark, and the next begins in the cycle after.
    """
    with m.FSM() as states:
        for step, following in zip(steps, (*steps[1:], steps[0]), strict=True):
            words = streams[step.takes]
            marked = words.payload[step.until] if step.until else Const(1)
            with m.State(step.name), m.If(words.valid & words.ready & marked):
                m.next = following.name
    return {step.name: states.ongoing(step.name) for step in steps}
