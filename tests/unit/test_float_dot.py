"""The floating-point units equal golden, bit for bit, in Amaranth's own simulator; and broken ones do not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib.wiring import Component
from amaranth.sim import Simulator
from numpy.typing import NDArray

from golden import float_dot as golden
from golden.formats import FP16
from rtl import float_dot
from rtl.adders import Term
from rtl.emit import to_rtlil, to_verilog
from rtl.float_dot import FusedDot, MultiplyAdd, Product, ToFloat
from scripts.yosys import synthesize

Vectors = tuple[NDArray[Any], ...]

MULTIPLY_ADD, FUSED_DOT, TO_FLOAT = ("a", "b", "c"), ("a", "b"), ("integer", "exponent")


def packed(port: Any, values: Any) -> str:
    """The bits of the port, for a number or one for each of its elements; the last one comes first."""
    numbers = values if isinstance(values, list) else [values]
    width = len(Value.cast(port)) // len(numbers)
    return "".join(f"{number & ((1 << width) - 1):0{width}b}" for number in reversed(numbers))


def simulated(dut: Any, ports: Iterable[str], vectors: Vectors) -> NDArray[np.uint32]:
    """What the output is after every input vector."""
    inputs = [getattr(dut, port) for port in ports]
    results = []

    async def testbench(ctx) -> None:
        for values in zip(*(vector.tolist() for vector in vectors), strict=True):
            words = [packed(port, value) for port, value in zip(inputs, values, strict=True)]
            ctx.set(Cat(inputs), int("".join(reversed(words)), 2))  # all at once: every assignment takes a simulation
            results.append(ctx.get(dut.o))

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()
    return np.array(results, np.uint32)


def agree(got: NDArray[np.uint32], expected: NDArray[np.uint32], vectors: Vectors) -> None:
    """Fails with the first vector whose results differ."""
    assert len(got) == len(expected) > 0
    wrong = np.flatnonzero(got != expected)
    if len(wrong):
        n = wrong[0]
        inputs = [vector[n].tolist() for vector in vectors]
        pytest.fail(f"{len(wrong)} of {len(got)} differ; {inputs}: {got[n]:#010x}, golden {expected[n]:#010x}")


def halves(rng: np.random.Generator, shape: Any, low: int = 0, high: int = 31) -> NDArray[np.uint16]:
    """Finite FP16 numbers with uniform exponent fields in low..high-1."""
    sign, field, fraction = rng.integers(0, 2, shape), rng.integers(low, high, shape), rng.integers(0, 1024, shape)
    return (sign << 15 | field << 10 | fraction).astype(np.uint16)


def singles(sign: Any, field: Any, fraction: Any) -> NDArray[np.uint32]:
    """FP32 numbers of such parts, zeros in place of subnormal ones."""
    return np.asarray(sign << 31 | np.where(field > 0, field << 23 | fraction, 0)).astype(np.uint32)


def multiply_add_vectors() -> Vectors:
    """Any numbers; c close to the product, and all but its negative; ties and what is next to them; extremes."""
    rng, n = np.random.default_rng(11), 600
    a, b = halves(rng, n), halves(rng, n)
    anything = a, b, singles(rng.integers(0, 2, n), rng.integers(0, 255, n), rng.integers(0, 1 << 23, n))

    a, b = halves(rng, n), halves(rng, n)
    field = (a >> 10 & 31).astype(np.int64) + (b >> 10 & 31) + 97
    fraction = rng.integers(0, 1 << 23, n) & rng.choice([0, 0x7FFFFF, 0x7FFFF8, 0x7FF800], n)
    near = a, b, singles(rng.integers(0, 2, n), field + rng.integers(-26, 31, n), fraction)

    a, b = halves(rng, n, 1), halves(rng, n, 1)
    opposite = (FP16.decode(a) * -FP16.decode(b)).astype(np.float32).view(np.uint32).astype(np.int64)
    cancelling = a, b, (opposite + rng.integers(-3, 4, n)).astype(np.uint32)

    place = rng.integers(0, 24, n)
    a = (rng.integers(0, 2, n) << 15 | (place >> 1) + 3 << 10).astype(np.uint16)
    b = ((place + 1 >> 1) + 3 << 10 | rng.choice([0, 0, 0, 1], n)).astype(np.uint16)  # a * b: 2**(place - 24)
    fraction = rng.integers(0, 1 << 23, n) | rng.choice([0, (1 << 23) - 1], n, p=[0.8, 0.2])
    ties = a, b, singles(rng.integers(0, 2, n), 127 + place, fraction * (rng.random(n) > 0.2))

    corners = [s << 15 | x for s in (0, 1) for x in (0, 0x3FF, 0x400, 0x3FFF, 0x7BFF)]
    others = [s << 31 | x for s in (0, 1) for x in (0, 1 << 23, 0x3F800000, 0x4F7FC002, 0x7F7FFFFF)]
    extremes = tuple(np.array(list(itertools.product(corners, corners, others))).T)
    parts = zip(anything, near, cancelling, ties, extremes, strict=True)
    return tuple(np.concatenate(part).astype(part[0].dtype) for part in parts)


def fused_dot_vectors(operands: int, count: int) -> Vectors:
    """Rows of any numbers, like ones, few that are not zero, such that cancel, of equal magnitude, and the largest."""
    rng = np.random.default_rng(operands)
    shape = (count // 5, operands)
    cancelling = [halves(rng, shape), halves(rng, shape, 12, 18)]
    pair = operands // 2
    for factor, flip in zip(cancelling, (0x8000, 0), strict=True):
        factor[:, pair : 2 * pair] = factor[:, :pair] ^ np.uint16(flip)
    kinds = [
        [halves(rng, shape), halves(rng, shape)],
        [halves(rng, shape, 13, 16), halves(rng, shape, 11, 17)],
        [np.where(rng.random(shape) < 0.1, halves(rng, shape), halves(rng, shape, 0, 1)), halves(rng, shape)],
        cancelling,
        [halves(rng, shape, 15, 16) & 0xFC01, halves(rng, shape, 15, 16) & 0x7C01],
        [np.full((2, operands), x, np.uint16) for x in (0x7BFF, 0x7BFF)],
        [np.full((2, operands), x, np.uint16) for x in (0x8000, 0x7BFF)],
        [np.full((2, operands), x, np.uint16) for x in (0xFBFF, 0x7BFF)],
    ]
    return tuple(np.concatenate(factor) for factor in zip(*kinds, strict=True))


def thinned(vectors: Vectors, every: int) -> Vectors:
    """Every so many of the vectors: some of all kinds."""
    return tuple(vector[::every] for vector in vectors)


def to_float_vectors(integer_bits: int, exponent_bits: int) -> Vectors:
    """Integers of every length, powers of two and their neighbours, ties; exponents of the whole range."""
    rng, top, reach = np.random.default_rng(integer_bits), 1 << (integer_bits - 1), 1 << (exponent_bits - 1)
    anything = rng.integers(-top, top, 1500) >> rng.integers(0, integer_bits, 1500)
    powers = (1 << np.arange(integer_bits - 1))[:, None] + np.arange(-2, 3)
    ties = ((rng.integers(1 << 23, 1 << 24, 500) << 1) + 1 << max(0, integer_bits - 26)) + rng.integers(-1, 2, 500)
    integers = np.concatenate([anything, powers.ravel(), ties >> max(0, 26 - integer_bits), [0, top - 1, top]])
    integers = np.clip(np.concatenate([integers, -integers]), -top, top - 1)
    return integers, rng.integers(-reach, reach, len(integers))


@pytest.mark.parametrize(("adder", "every"), [("carry", 1), ("save", 10)])
def test_multiply_add(adder: str, every: int) -> None:
    vectors = thinned(multiply_add_vectors(), every)
    agree(simulated(MultiplyAdd(adder), MULTIPLY_ADD, vectors), golden.multiply_add(*vectors), vectors)


@pytest.mark.parametrize(
    ("operands", "keep_bits", "adder", "count"),
    [(64, 24, "carry", 150), (5, 24, "carry", 500), (2, 24, "save", 100), (2, 30, "carry", 500), (3, 12, "carry", 500)],
)
def test_fused_dot(operands: int, keep_bits: int, adder: str, count: int) -> None:
    a, b = vectors = fused_dot_vectors(operands, count)
    got = simulated(FusedDot(operands, keep_bits, adder), FUSED_DOT, vectors)
    agree(got, golden.fused_dot(a, b, keep_bits), vectors)


@pytest.mark.parametrize(
    ("integer_bits", "exponent_bits"), [(24, 7), (24, 9), (25, 6), (26, 8), (31, 7), (33, 9), (40, 6), (17, 9)]
)
def test_to_float(integer_bits: int, exponent_bits: int) -> None:
    vectors = to_float_vectors(integer_bits, exponent_bits)
    agree(simulated(ToFloat(integer_bits, exponent_bits), TO_FLOAT, vectors), golden.to_float(*vectors), vectors)


@pytest.mark.parametrize("integer_bits", range(22, 30))
def test_to_float_of_every_number_of_dropped_bits_becomes_verilog(integer_bits: int) -> None:
    assert "endmodule" in to_verilog(ToFloat(integer_bits, 6), "to_float")


@pytest.mark.parametrize(("integer_bits", "exponent_bits"), [(8, 4), (9, 3), (2, 9), (1, 8)])
def test_to_float_of_all_inputs(integer_bits: int, exponent_bits: int) -> None:
    top, reach = 1 << (integer_bits - 1), 1 << (exponent_bits - 1)
    vectors = tuple(part.ravel() for part in np.meshgrid(np.arange(-top, top), np.arange(-reach, reach)))
    agree(simulated(ToFloat(integer_bits, exponent_bits), TO_FLOAT, vectors), golden.to_float(*vectors), vectors)


class NothingDropped(MultiplyAdd):
    """Forgets the sticky bit."""

    def align(self, m: Module, value: Value, distance: Value, live: Value) -> tuple[Value, Value]:
        return super().align(m, value, distance, live)[0], Const(0, 1)


class NothingFar(MultiplyAdd):
    """Shifts by the distance modulo 32."""

    def align(self, m: Module, value: Value, distance: Value, live: Value) -> tuple[Value, Value]:
        return super().align(m, value, distance[:5], live)


class ZeroAdds(MultiplyAdd):
    """Takes zero for the smallest normal number."""

    def align(self, m: Module, value: Value, distance: Value, live: Value) -> tuple[Value, Value]:
        return super().align(m, value, distance, Const(1, 1))


class OneGuardBit(MultiplyAdd):
    """Rounds with one bit less."""

    guard_bits = 1


class NoCarries(FusedDot):
    """Ones' complements in place of negative products."""

    def terms(self, m: Module, products: Sequence[Product], largest: Value) -> tuple[list[Term], int]:
        terms, offset = super().terms(m, products, largest)
        return terms[: self.operands], offset


class ZerosCount(FusedDot):
    """Aligns to the exponents of products that are zero, too."""

    def largest(self, m: Module, products: Sequence[Product]) -> Value:  # type: ignore[override]
        return super().largest(m, [product._replace(live=Const(1, 1)) for product in products])  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", [NothingDropped, NothingFar, ZeroAdds, OneGuardBit])
def test_a_broken_multiply_add_is_found(broken: type[MultiplyAdd]) -> None:
    vectors = thinned(multiply_add_vectors(), 5)
    assert (simulated(broken(), MULTIPLY_ADD, vectors) != golden.multiply_add(*vectors)).any()


@pytest.mark.parametrize("broken", [NoCarries, ZerosCount])
def test_a_broken_fused_dot_is_found(broken: type[FusedDot]) -> None:
    a, b = vectors = fused_dot_vectors(5, 200)
    assert (simulated(broken(5, 24), FUSED_DOT, vectors) != golden.fused_dot(a, b, 24)).any()


@pytest.mark.parametrize(
    "broken",
    [
        lambda kept, rest, more: rest[-1] | more,
        lambda kept, rest, more: rest[-1] & (kept[0] | rest[:-1].any()),
        lambda kept, rest, more: more & rest.all(),
    ],
    ids=["ties away", "magnitude of a ones' complement", "truncation"],
)
def test_a_broken_rounding_is_found(monkeypatch: pytest.MonkeyPatch, broken: Callable[..., Value]) -> None:
    monkeypatch.setattr(float_dot, "round_up", broken)
    vectors = to_float_vectors(31, 7)
    assert (simulated(ToFloat(31, 7), TO_FLOAT, vectors) != golden.to_float(*vectors)).any()


@pytest.mark.parametrize(
    ("unit", "arguments", "dsps"),
    [
        (MultiplyAdd, ("carry",), 1),
        (MultiplyAdd, ("save",), 0),
        (FusedDot, (4, 24, "carry"), 4),
        (FusedDot, (2, 24, "save"), 0),
        (ToFloat, (24, 8), 0),
    ],
)
def test_it_maps_without_latches_and_registers(unit: Callable[..., Component], arguments: tuple, dsps: int) -> None:
    pytest.importorskip("pyosys")
    mapped = synthesize(to_rtlil(unit(*arguments), "dut"), "dut", "ecp5", flatten=True)
    assert mapped.luts > 0
    assert (mapped.latches, mapped.registers, mapped.dsps) == (0, 0, dsps)
