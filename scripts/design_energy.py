"""Designs on real operands and codes: what they compute is checked, and what that takes is counted.

Query rows and keys of a trace pass by as they do in the core: a row's tables are read by all readers until its key
tile is used up, then those of the next row follow. One reader is simulated, gate by gate.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.align import align
from golden.config import DIGIT_BITS, Config
from golden.float_dot import fused_dot, multiply_add, to_float
from golden.formats import FP16
from golden.prepare import Prepared
from rtl.align import Align
from scripts.cell_library import Library
from scripts.designs import DOT, FLOAT_BITS, INT8_BITS, KEPT_BITS, Design
from scripts.energy import Energy, energy
from sim.gates import Gate, evaluate, toggles

CYCLES = 320
FILL = 1
"""Cycles from an operand to its table."""

Netlists = Mapping[str, tuple[dict[str, Any], Mapping[str, Gate]]]
"""The module of each part, and what its cells compute."""
Inputs = dict[str, dict[str, list[int]]]
"""The inputs of each part in every cycle."""


def pack(rows: NDArray[Any], bits: int) -> list[int]:
    """Each row as one number, its elements of `bits` bits, the first one lowest."""
    mask = (1 << bits) - 1
    return [sum((int(value) & mask) << (bits * n) for n, value in enumerate(row)) for row in rows]


@dataclasses.dataclass(frozen=True)
class Run:
    """A design on a trace: the row whose operands arrive, the row whose table is read, and the key, cycle by cycle."""

    config: Config
    design: Design
    prepared: Prepared
    lifetime: int
    """cycles for which a table is read"""

    @property
    def cycle(self) -> NDArray[np.int64]:
        """0, 1, 2, ..."""
        return np.arange(CYCLES)

    @property
    def arriving(self) -> NDArray[np.int64]:
        """The row whose operands arrive."""
        return self.cycle // self.lifetime % len(self.prepared.operands.query)

    @property
    def read(self) -> NDArray[np.int64]:
        """The row whose table is read, once there is one."""
        return self.arriving[np.maximum(0, self.cycle - FILL)]

    @property
    def key(self) -> NDArray[np.int64]:
        """The first reader's key: readers share a tile of keys, and a table's life is that tile."""
        tile = self.cycle // (self.lifetime * self.config.query_rows)
        place = self.cycle % self.lifetime * (self.config.tile // min(self.lifetime, self.config.tile))
        return (tile * self.config.tile + place) % len(self.prepared.operands.key_mantissa)

    @property
    def operands(self) -> NDArray[np.int64]:
        """Integers [rows, DOT]."""
        if self.design.style == "int8_booth":
            query = self.prepared.query[:, :DOT]
            limit = (1 << (INT8_BITS - 1)) - 1
            return np.rint(query * (limit / np.abs(query).max(axis=1, keepdims=True))).astype(np.int64)
        width = dataclasses.replace(self.config, query_bits=self.design.operand_bits)
        return align(width, self.prepared.operands.query).mantissa

    def codes(self) -> tuple[NDArray[np.int64], list[int]]:
        """The codes in each cycle [cycles, DOT], and how the reader takes them: as digits, or as they are."""
        each = self.prepared.operands.key_digits[: self.design.code_bits // DIGIT_BITS]
        value = stored = np.zeros(each.shape[1:], np.int64)
        for digit in each.astype(np.int64):
            value = (value << DIGIT_BITS) + digit
            stored = (stored << DIGIT_BITS) | (digit & ((1 << DIGIT_BITS) - 1))
        whole = self.design.digits == 1
        return value[self.key], pack((value if whole else stored)[self.key], self.design.code_bits)

    def filling(self, rows: NDArray[Any], bits: int) -> Inputs:
        """The inputs of the tables, and of a register in front of them."""
        start = self.cycle % self.lifetime == 0
        packed = pack(rows, bits)
        inputs = {"load": start.astype(int).tolist(), "operands": [packed[row] for row in self.arriving]}
        return {"tables": inputs, "waiting": inputs}

    def integers(self, netlists: Netlists) -> Inputs:
        """The inputs of all parts of an integer design. A wrong result raises ValueError."""
        design, operands = self.design, self.operands
        inputs = self.filling(operands, design.operand_bits)
        filled = evaluate(*netlists["tables"], inputs["tables"])
        value, packed = self.codes()
        inputs["reader"] = {"enable": [1] * CYCLES, "codes": packed, **filled}
        dot = signed(evaluate(*netlists["reader"], inputs["reader"])["dot"], design.dot_bits)
        expected = (operands[self.read] * value).sum(axis=1)
        self.compare("dot product", dot[FILL + 1 :], expected[FILL:-1].tolist())
        inputs["to_float"] = {"integer": dot, "exponent": [0] * CYCLES}
        o = evaluate(*netlists["to_float"], inputs["to_float"])["o"]
        self.compare("FP32", o, to_float(np.array(dot), np.zeros(CYCLES, np.int64)).tolist())
        if "align" in netlists:
            query = self.prepared.operands.query
            rows = pack(query, FLOAT_BITS)
            inputs["align"] = {
                "i__valid": (self.cycle % self.lifetime == 0).astype(int).tolist(),
                "i__payload": [rows[row] for row in self.arriving],
                "o__ready": [1] * CYCLES,
                "rst": [0] * CYCLES,
            }
            out = evaluate(*netlists["align"], inputs["align"])["o__payload"]
            mask = (1 << (design.operand_bits * DOT)) - 1
            wanted = [pack(operands[row : row + 1], design.operand_bits)[0] for row in self.arriving]
            late = Align.latency
            self.compare("mantissas", [word & mask for word in out[late:]], wanted[:-late])
        return inputs

    def floats(self, netlists: Netlists) -> Inputs:
        """The inputs of all parts of a floating-point design. A wrong result raises ValueError."""
        query = np.where(self.prepared.operands.query & 0x7C00, self.prepared.operands.query, 0)
        key = FP16.encode(self.prepared.key)
        key = np.where(key & 0x7C00, key, 0)[self.key]
        inputs = self.filling(query, FLOAT_BITS)
        if self.design.style == "fp16_fused":
            a, b = query[self.arriving], key
            inputs["reader"] = {"a": pack(a, FLOAT_BITS), "b": pack(b, FLOAT_BITS)}
            expected = fused_dot(a, b, KEPT_BITS)
        else:
            a, b = query[:CYCLES].reshape(-1)[:CYCLES], key.reshape(-1)[:CYCLES]
            c = np.zeros(CYCLES, np.uint32)
            for n in range(1, CYCLES):
                if n % DOT:  # a dot product takes as many cycles as it has products
                    c[n] = multiply_add(a[n - 1 : n], b[n - 1 : n], c[n - 1 : n])[0]
            inputs["reader"] = {"a": a.tolist(), "b": b.tolist(), "c": c.tolist()}
            expected = multiply_add(a, b, c)
        self.compare("FP32", evaluate(*netlists["reader"], inputs["reader"])["o"], expected.tolist())
        return inputs

    def inputs(self, netlists: Netlists) -> Inputs:
        """The inputs of all parts, whose outputs have been compared with golden."""
        return self.floats(netlists) if self.design.table is None else self.integers(netlists)

    def compare(self, what: str, got: Sequence[int], expected: Sequence[int]) -> None:
        """ValueError at the first difference."""
        if len(got) != len(expected):
            raise ValueError(f"{self.design.style}: {len(got)} of {what} in place of {len(expected)}")
        for n, (one, other) in enumerate(zip(got, expected, strict=True)):
            if one != other:
                raise ValueError(f"{self.design.style}: {what} {n} is {one}, golden {other}")


def signed(values: Sequence[int], bits: int) -> list[int]:
    """Two's complement."""
    return [value - ((value >> (bits - 1)) << bits) for value in values]


@dataclasses.dataclass(frozen=True)
class ProductEnergy:
    """fJ for each product, with the readers' share of what they share."""

    settled: float
    """without glitches, but with clocks"""
    total: float
    """with the glitches of unit delays"""


PartEnergies = dict[tuple[Any, ...], Energy]
"""By library, part, cells and the cycles for which a table is read."""


def product_energy(run: Run, netlists: Netlists, library: Library, readers: int, known: PartEnergies) -> ProductEnergy:
    """The energy of a design in a cell library, on the operands and codes of a run that has been compared.

    What is known of a part is not simulated again; what is new is added.
    """
    parts = run.design.parts
    keys = {part: (library.name, part, _cells(netlists[part.name][0]), run.lifetime) for part in parts}
    missing = [part for part in parts if keys[part] not in known]
    if missing:
        apart = {part.name for part in parts if part.name == "align" and part not in missing}
        inputs = run.inputs({name: netlist for name, netlist in netlists.items() if name not in apart})
        for part in missing:
            module, gates = netlists[part.name]
            known[keys[part]] = energy(module, library, toggles(module, gates, inputs[part.name]))
    settled = total = 0.0
    for part in parts:
        spent, products = known[keys[part]], part.products * (readers if part.shared else 1)
        settled += (spent.settled + spent.clock) / products
        total += spent.total / products
    return ProductEnergy(settled, total)


def _cells(module: dict[str, Any]) -> frozenset[tuple[str, int]]:
    """How many cells of each type there are, which tells netlists of a part apart."""
    return frozenset(Counter(cell["type"] for cell in module["cells"].values()).items())
