"""The designs that `make bench` compares: ways to compute dot products of 64, each with everything it needs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from amaranth.lib.wiring import Component

from golden.config import DIGIT_BITS, DIGIT_MIN, Config, signed_bits
from rtl.align import Align
from rtl.float_dot import FusedDot, MultiplyAdd, ToFloat
from rtl.ram_reader import Multiples, RamReader
from rtl.reader import Reader
from rtl.table_styles import STYLES, Booth, Multiply, TableStyle
from rtl.tables import Tables

DOT = 64
"""Products of a dot product."""
READERS = (1, 2, 4, 8, 16, 32, 64)
CODE_BITS = (4, 8)
WIDTHS = range(9, 17)
"""Operand bits, sign included."""
FLOAT_BITS = 16
INT8_BITS = 8
EXPONENT_BITS = 9
KEPT_BITS = 24
"""Bits of an aligned product in the fused floating-point dot product: as many as FP32 keeps."""

BASELINES = ("multiply", "booth", "fp16_mac", "fp16_fused", "int8_booth")
LABELS = {
    "multiply": "aligned integers, written *",
    "booth": "aligned integers, Booth radix 4",
    "fp16_mac": "FP16 multiply, FP32 add",
    "fp16_fused": "FP16 dot product, fused",
    "int8_booth": "INT8 operand, Booth radix 4",
    "odd": "odd multiples, shift and sign",
    "full": "all 16 multiples",
    "pairs": "pairs {a, b, a + b}",
    "signed": "{m, 2m, -m}, digits -1..2",
    "half_pairs": "half table of pairs",
    "half_triples": "half table of triples",
    "half_quads": "half table of quads",
    "lut_ram": "all 16 multiples in LUT RAM",
}


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a design, as often as it takes for `products` products a cycle."""

    name: str
    component: Callable[[str], Component]
    """of the form of its sums: a key of rtl.adders.ADDERS"""
    products: int = DOT
    shared: bool = False
    """by all readers of a table"""
    quick: bool = False
    """a single attempt at mapping it to cells, as each takes long"""


@dataclasses.dataclass(frozen=True)
class Design:
    """A style for codes and operands of some width; `table` is what its tables and readers are made of."""

    style: str
    code_bits: int
    operand_bits: int
    parts: tuple[Part, ...]
    table: TableStyle | None = None

    @property
    def digits(self) -> int:
        """Digits that a reader reads of each code at once."""
        return 1 if self.table is None else self.code_bits // self.table.digit_bits

    @property
    def dot_bits(self) -> int:
        """Bits of the dot product."""
        return dot_bits(self.operand_bits, self.code_bits)


def dot_bits(operand_bits: int, code_bits: int) -> int:
    """Bits of a dot product of symmetric operands with codes of balanced digits."""
    weights = sum(1 << low for low in range(0, code_bits, DIGIT_BITS))
    return signed_bits(((1 << (operand_bits - 1)) - 1) * -DIGIT_MIN * weights * DOT)


@functools.cache
def aligner(config: Config, operand_bits: int) -> Part:
    """Alignment of the operands."""
    aligned = dataclasses.replace(config, head_dim=DOT, query_bits=operand_bits)
    return Part("align", lambda _: Align(aligned), shared=True)


@functools.cache
def to_float(bits: int) -> Part:
    """The conversion of a dot product to FP32."""
    return Part("to_float", lambda _: ToFloat(bits, EXPONENT_BITS))


@functools.cache
def waiting(operand_bits: int) -> Part:
    """A register for the next operands, where they do not come out of one: the other half of the double buffer."""
    return Part("waiting", lambda _: Tables(STYLES["multiply"], DOT, operand_bits), shared=True)


@functools.cache
def tabled(config: Config, style: str, code_bits: int, operand_bits: int) -> Design:
    """A design of aligned integers: a style of rtl.table_styles, or INT8 operands, which are not aligned."""
    whole = {"multiply": Multiply(code_bits), "booth": Booth(code_bits), "int8_booth": Booth(code_bits)}
    table = whole.get(style) or STYLES[style]
    digits, bits = code_bits // table.digit_bits, dot_bits(operand_bits, code_bits)

    def reader(adder: str) -> Component:
        form = "carry" if style == "multiply" else adder  # (a) leaves all to the tool
        whole_tables = -(-DOT // table.span) * table.span
        return Reader(table, DOT, operand_bits, bits, whole_tables, form, digits)

    parts = [
        Part("reader", reader),
        Part("tables", lambda _: Tables(table, DOT, operand_bits), shared=True),
        to_float(bits),
        waiting(operand_bits) if style == "int8_booth" else aligner(config, operand_bits),
    ]
    return Design(style, code_bits, operand_bits, tuple(parts), table)


@functools.cache
def lut_ram(config: Config, code_bits: int) -> Design:
    """Tables in the LUT RAM of an FPGA."""
    bits, width = dot_bits(config.query_bits, code_bits), config.query_bits
    reader = Part("reader", lambda _: RamReader(DOT, width, bits, code_bits // DIGIT_BITS))
    return Design(
        "lut_ram",
        code_bits,
        width,
        (reader, Part("tables", lambda _: Multiples(DOT, width), shared=True), to_float(bits), aligner(config, width)),
    )


@functools.cache
def floating(style: str) -> Design:
    """A floating-point design: FP16 codes and operands."""
    part = {
        "fp16_mac": Part("reader", MultiplyAdd, products=1),
        "fp16_fused": Part("reader", lambda adder: FusedDot(DOT, KEPT_BITS, adder), quick=True),
    }[style]
    held = Part("tables", lambda _: Tables(STYLES["multiply"], DOT, FLOAT_BITS), shared=True)
    return Design(style, FLOAT_BITS, FLOAT_BITS, (part, held, waiting(FLOAT_BITS)))


def designs(config: Config, ram: bool) -> list[Design]:
    """All designs at the operand width of the configuration; `ram` where the target has LUT RAM."""
    found = []
    for code_bits in CODE_BITS:
        found += [tabled(config, style, code_bits, config.query_bits) for style in STYLES]
        found.append(tabled(config, "int8_booth", code_bits, INT8_BITS))
        if ram:
            found.append(lut_ram(config, code_bits))
    return [*found, floating("fp16_mac"), floating("fp16_fused")]
