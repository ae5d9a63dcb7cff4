"""Modules that are alike, whatever they are called: what was synthesized once need not be again."""

from __future__ import annotations

import functools
import hashlib
import re

_MODULE = re.compile(r"^module \\(\S+)\n(.*?)^end$", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^  cell \\(\S+) ", re.MULTILINE)


def digests(rtlil: str) -> dict[str, str]:
    """Of every module in an RTLIL text, by its name: a digest of its contents and of all that is below it."""
    bodies = dict(_MODULE.findall(rtlil))

    def cell(instance: re.Match[str]) -> str:
        return f"  cell {digest(instance[1])} " if instance[1] in bodies else instance[0]

    @functools.cache
    def digest(name: str) -> str:
        return hashlib.sha256(_CELL.sub(cell, bodies[name]).encode()).hexdigest()

    return {name: digest(name) for name in bodies}
