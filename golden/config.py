"""The one source of every parameter: a frozen, validated configuration and the widths that follow from it."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from typing import Any

DIGIT_BITS = 4
"""Bits of one table lookup: a code is a string of signed 4-bit digits and every pass reads one of them."""
DIGIT_MIN, DIGIT_MAX = -(1 << (DIGIT_BITS - 1)), (1 << (DIGIT_BITS - 1)) - 1

TABLE_STYLES = ("multiply", "booth", "odd", "full", "pairs", "signed", "half_pairs", "half_triples", "half_quads")
ADDERS = ("carry", "save")
FLOAT_FORMATS = ("fp16", "bf16")


class Tier(enum.IntEnum):
    """How exactly a block or key is computed; a higher tier spends more passes. See `Config.passes`."""

    LUT4 = 0
    LUT8 = 1
    FULL = 2


def unsigned_bits(bound: int) -> int:
    """Bits of an unsigned number in 0..bound."""
    return max(1, bound.bit_length())


def signed_bits(bound: int) -> int:
    """Bits of a two's complement number in -bound..bound."""
    return bound.bit_length() + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that shapes the hardware and its golden model.

    Widths that follow from these fields are properties, derived from exact bounds, never typed elsewhere.
    """

    # -- geometry --
    head_dim: int = 64
    """Channels of a head; a multiple of 16."""
    query_rows: int = 64
    """Query rows of a query tile, resident in the core while key tiles stream by."""
    tile: int = 64
    """Tokens of a key/value tile."""
    lanes: int = 16
    """Key lanes: keys that meet one query row in one pass; also the readers of a query element's table."""
    banks: int = 16
    """Banks of the token buffers."""
    tile_slots: int = 2
    """Key/value tiles that the token buffers hold: one is read while the others are filled."""
    request_depth: int = 4
    """Requests that each lane of the bank arbiter can queue: 2 keep a lane busy, more decouple it from a late table."""
    request_window: int = 1
    """Requests of a lane that banks may serve at once and out of order: its queues, each to a part of the banks."""

    # -- numbers --
    float_format: str = "fp16"
    """Format of the query elements: fp16 or bf16. The output is FP16."""
    digits: int = 2
    """4-bit digits in a stored key or value code: LUT4 reads the first, LUT8 the first two, FULL all."""
    query_bits: int = 13
    """Bits of an aligned query mantissa, sign included."""
    prob_bits: int = 16
    """Bits of a probability as table operand, sign included; over many keys its rounding is the largest error."""
    scale_bits: int = 6
    """Mantissa bits of a token's scale, leading one included."""
    score_integer_bits: int = 11
    """Integer bits of a base-2 score, sign included; scores saturate beyond."""
    score_fraction_bits: int = 10
    """Fraction bits of a base-2 score."""
    max_tokens: int = 131072
    """Most keys that one query row may meet; sizes the accumulators."""

    # -- structure --
    table: str = "pairs"
    """Style of the multiplier's tables: see rtl.table_styles; multiply and booth have none, for comparison."""
    adder: str = "save"
    """Form of the readers' sums: carry chains, for FPGAs, or carry-save rows, for gates."""
    tree_fanin: int = 64
    """Addends summed between two registers of an adder tree."""

    # -- preparation and speculation --
    rotate: bool = True
    """Rotate Q, K and V by a Hadamard transform before quantisation."""
    top_mass: float = 0.9
    """Speculated softmax mass of a query tile that the top tier should hold."""
    top_floor: float = 0.05
    """Least share of key tiles in the top tier."""
    top_cap: float = 0.25
    """Largest share of key tiles in the top tier."""

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, allowed: str) -> None:
            if not ok:
                raise ValueError(f"config.{field} = {getattr(self, field)!r}: must be {allowed}")

        for f in dataclasses.fields(self):
            kind = {"int": int, "bool": bool, "str": str, "float": (int, float)}[str(f.type)]
            value = getattr(self, f.name)
            need(
                isinstance(value, kind) and (f.type == "bool" or not isinstance(value, bool)),
                f.name,
                f"of type {f.type}",
            )
        need(16 <= self.head_dim <= 256 and self.head_dim % 16 == 0, "head_dim", "a multiple of 16 in 16..256")
        need(2 <= self.tile <= 1024, "tile", "in 2..1024")
        need(
            2 <= self.lanes <= self.tile and self.tile % self.lanes == 0,
            "lanes",
            f"at least 2 and a divisor of tile = {self.tile}",
        )
        need(
            self.lanes <= self.query_rows <= 1024,
            "query_rows",
            f"in lanes = {self.lanes}..1024, so that loading a tile hides behind computing one",
        )
        need(1 <= self.banks <= 256, "banks", "in 1..256")
        need(2 <= self.tile_slots <= 64, "tile_slots", "in 2..64")
        need(1 <= self.request_depth <= 64, "request_depth", "in 1..64")
        windows = [1 << n for n in range(self.banks.bit_length())]
        need(self.request_window in windows, "request_window", f"one of {windows}, powers of two up to config.banks")
        need(self.float_format in FLOAT_FORMATS, "float_format", "one of " + ", ".join(FLOAT_FORMATS))
        need(self.table in TABLE_STYLES, "table", "one of " + ", ".join(TABLE_STYLES))
        need(self.adder in ADDERS, "adder", "one of " + ", ".join(ADDERS))
        need(2 <= self.digits <= 3, "digits", "2 or 3")
        need(8 <= self.query_bits <= 18, "query_bits", "in 8..18")
        need(8 <= self.prob_bits <= 18, "prob_bits", "in 8..18")
        need(2 <= self.scale_bits <= 8, "scale_bits", "in 2..8")
        need(6 <= self.score_integer_bits <= 12, "score_integer_bits", "in 6..12")
        need(8 <= self.score_fraction_bits <= 12, "score_fraction_bits", "in 8..12")
        need(self.tile <= self.max_tokens <= 1 << 20, "max_tokens", f"in tile = {self.tile}..{1 << 20}")
        need(2 <= self.tree_fanin <= 64, "tree_fanin", "in 2..64")
        need(0 < self.top_mass <= 1, "top_mass", "in (0, 1]")
        need(0 <= self.top_floor <= 1, "top_floor", "in [0, 1]")
        need(self.top_floor <= self.top_cap <= 1, "top_cap", f"in top_floor = {self.top_floor}..1")

    # -- tiers and codes --
    def passes(self, tier: Tier) -> int:
        """Table passes (4-bit digits read per product) of a tier."""
        return {Tier.LUT4: 1, Tier.LUT8: 2, Tier.FULL: self.digits}[Tier(tier)]

    @property
    def code_bits(self) -> int:
        """Bits of a stored key or value code."""
        return DIGIT_BITS * self.digits

    @property
    def code_max(self) -> int:
        """Largest code magnitude that quantisation uses: all digits at DIGIT_MAX."""
        return DIGIT_MAX * self._digit_weights

    @property
    def _digit_weights(self) -> int:
        return sum(1 << (DIGIT_BITS * i) for i in range(self.digits))

    @property
    def _code_bound(self) -> int:
        return -DIGIT_MIN * self._digit_weights

    @property
    def word_bits(self) -> int:
        """Bits of a token buffer word: one digit of every channel of one token."""
        return DIGIT_BITS * self.head_dim

    # -- indices --
    @property
    def token_bits(self) -> int:
        """Bits of a token's index in its tile."""
        return unsigned_bits(self.tile - 1)

    @property
    def row_bits(self) -> int:
        """Bits of a row's index in its query tile."""
        return unsigned_bits(self.query_rows - 1)

    @property
    def digit_index_bits(self) -> int:
        """Bits of a pass or digit index."""
        return unsigned_bits(self.digits - 1)

    @property
    def tier_bits(self) -> int:
        """Bits of a tier."""
        return unsigned_bits(max(Tier))

    @property
    def max_groups(self) -> int:
        """Most lane groups of one key tile: full groups, and a partial one for each further tier."""
        return self.tile // self.lanes + len(Tier) - 1

    # -- scales --
    @property
    def key_exponent_bits(self) -> int:
        """Bits of a key scale's signed exponent."""
        return 8

    @property
    def value_exponent_bits(self) -> int:
        """Bits of a value scale's unsigned right shift."""
        return 5

    @property
    def output_exponent_bits(self) -> int:
        """Bits of the signed power of two applied to the output."""
        return 8

    # -- score and softmax --
    @property
    def score_bits(self) -> int:
        """Bits of a fixed-point base-2 score."""
        return self.score_integer_bits + self.score_fraction_bits

    @property
    def query_max(self) -> int:
        """Largest magnitude of an aligned query mantissa."""
        return (1 << (self.query_bits - 1)) - 1

    @property
    def prob_max(self) -> int:
        """The probability 1 - 2**-(prob_bits-1), to which 1 saturates."""
        return (1 << (self.prob_bits - 1)) - 1

    @property
    def key_dot_bits(self) -> int:
        """Bits of one pass of q . k over head_dim digits."""
        return signed_bits(self.query_max * -DIGIT_MIN * self.head_dim)

    @property
    def key_sum_bits(self) -> int:
        """Bits of q . k over all digits of a code."""
        return signed_bits(self.query_max * self._code_bound * self.head_dim)

    @property
    def running_max_bits(self) -> int:
        """Bits of the integer running maximum: the ceiling of any score."""
        return signed_bits(1 << (self.score_integer_bits - 1))

    # -- accumulation --
    @property
    def value_dot_bits(self) -> int:
        """Bits of one pass of p . v over the lanes."""
        return signed_bits(self.prob_max * -DIGIT_MIN * self.lanes)

    @property
    def output_sum_bits(self) -> int:
        """Bits of an output accumulator: no sum over max_tokens keys can overflow it."""
        return signed_bits(self.prob_max * self._code_bound * self.max_tokens)

    @property
    def group_prob_bits(self) -> int:
        """Bits of the sum of one lane group's probabilities."""
        return unsigned_bits(self.prob_max * self.lanes)

    @property
    def prob_sum_bits(self) -> int:
        """Bits of a row's sum of probabilities."""
        return unsigned_bits(self.prob_max * self.max_tokens)

    @property
    def rescale_bits(self) -> int:
        """Bits of a rescaling shift, which saturates at output_sum_bits."""
        return unsigned_bits(self.output_sum_bits)

    @property
    def output_lanes(self) -> int:
        """Output channels normalised per cycle: the fewest, dividing head_dim, that keep up with the last key tile."""
        wanted = -(-self.head_dim * self.lanes // self.tile)
        return next(n for n in range(wanted, self.head_dim + 1) if self.head_dim % n == 0)

    @property
    def reciprocal_bits(self) -> int:
        """Bits of the normaliser's mantissas: five more than FP16 keeps."""
        return 16

    # -- identity --
    def to_json(self) -> str:
        """All fields as JSON; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """The configuration written by `to_json`. Unknown or missing fields raise ValueError naming them."""
        data: Any = json.loads(text)
        names = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(data, dict) or set(data) != names:
            got = set(data) if isinstance(data, dict) else {type(data).__name__}
            raise ValueError(f"config JSON: unknown fields {sorted(got - names)}, missing fields {sorted(names - got)}")
        return cls(**data)

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits that name this configuration in every artefact."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]

    @property
    def peak_products(self) -> int:
        """Table lookups per cycle of both arrays, q . k and p . v."""
        return 2 * self.lanes * self.head_dim
