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


def limited(default: float, least: float, most: float) -> Any:
    """A field of a configuration, with its least and largest value."""
    return dataclasses.field(default=default, metadata={"least": least, "most": most})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that shapes the hardware and its golden model.

    Widths that follow from these fields are properties, derived from exact bounds, never typed elsewhere.
    """

    # -- geometry --
    head_dim: int = 64
    """Channels of a head; a multiple of 16."""
    query_rows: int = limited(64, 2, 1024)
    """Query rows of a query tile, resident in the core while key tiles stream by."""
    tile: int = limited(64, 2, 1024)
    """Tokens of a key/value tile."""
    lanes: int = limited(16, 2, 1024)
    """Key lanes: keys that meet one query row in one pass; also the readers of a query element's table."""
    banks: int = limited(16, 1, 256)
    """Banks of the token buffers."""
    tile_slots: int = limited(2, 2, 64)
    """Key/value tiles that the token buffers hold: one is read while the others are filled."""
    request_depth: int = limited(4, 1, 64)
    """Requests that each lane of the bank arbiter can queue: 2 keep a lane busy, more decouple it from a late table."""
    request_window: int = 1
    """Requests of a lane that banks may serve at once and out of order: its queues, each to a part of the banks."""

    # -- numbers --
    float_format: str = "fp16"
    """Format of the query elements: fp16 or bf16. The output is FP16."""
    digits: int = limited(2, 2, 3)
    """4-bit digits in a stored key or value code: LUT4 reads the first, LUT8 the first two, FULL all."""
    query_bits: int = limited(13, 8, 18)
    """Bits of an aligned query mantissa, sign included."""
    prob_bits: int = limited(16, 8, 18)
    """Bits of a probability as table operand, sign included; over many keys its rounding is the largest error."""
    scale_bits: int = limited(6, 2, 8)
    """Mantissa bits of a token's scale, leading one included."""
    score_integer_bits: int = limited(11, 6, 12)
    """Integer bits of a base-2 score, sign included; scores saturate beyond."""
    score_fraction_bits: int = limited(10, 8, 12)
    """Fraction bits of a base-2 score."""
    max_tokens: int = limited(131072, 2, 1 << 20)
    """Most keys that one query row may meet; sizes the accumulators."""
    key_digit_step: int = limited(3, 2, DIGIT_BITS)
    """Bits by which a digit of a key weighs more than the next; below 4 a digit corrects the one before whole."""
    value_digit_step: int = limited(4, 2, DIGIT_BITS)
    """Bits by which a digit of a value weighs more than the next."""

    # -- structure --
    table: str = "pairs"
    """Style of the multiplier's tables: see rtl.table_styles; multiply and booth have none, for comparison."""
    adder: str = "save"
    """Form of the readers' sums: carry chains, for FPGAs, or carry-save rows, for gates."""
    tree_fanin: int = limited(64, 2, 64)
    """Addends summed between two registers of an adder tree."""

    # -- preparation, speculation, matching and grouping --
    rotate: bool = True
    """Rotate Q, K and V by a Hadamard transform before quantisation."""
    shape_keys: bool = True
    """Round the digits of keys so that their errors fall where the queries of the head do not look."""
    piece: int = limited(16, 2, 1024)
    """Tokens of a piece of a key tile, which has one tier for all rows of a query tile."""
    cell: int = limited(8, 1, 1024)
    """Tokens of a cell of a piece: the finest thing that speculation looks at, in queries and in keys."""
    frame_mass: float = limited(0.99, 0, 1)
    """Speculated softmax mass of the frames inside which pieces are judged; with 1, all are."""
    top_share: float = limited(0.125, 0, 1)
    """Share of the products of a layer in the top tiers, LUT8 and FULL."""
    full_share: float = limited(0.04, 0, 1)
    """Share of the products of a layer in FULL, where that is more exact than LUT8; part of top_share."""
    reuse_distance: float = limited(0.0, 0, 2)
    """Relative L2 distance below which a query row takes the result of its reference row; 0 computes all rows."""
    group_window: int = limited(4, 1, 64)
    """Query tiles of a frame that grouping may join, where reuse left few rows in them."""
    cores: int = limited(4, 1, 1024)
    """Cores that take query tiles from one work queue."""

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, allowed: str) -> None:
            if not ok:
                raise ValueError(f"config.{field} = {getattr(self, field)!r}: must be {allowed}")

        for f in dataclasses.fields(self):
            kind = {"int": int, "bool": bool, "str": str, "float": (int, float)}[str(f.type)]
            value = getattr(self, f.name)
            right = isinstance(value, kind) and (f.type == "bool" or not isinstance(value, bool))
            need(right, f.name, f"of type {f.type}")
            if f.metadata:
                need(
                    f.metadata["least"] <= value <= f.metadata["most"],
                    f.name,
                    "in {least}..{most}".format(**f.metadata),
                )
        need(16 <= self.head_dim <= 256 and self.head_dim % 16 == 0, "head_dim", "a multiple of 16 in 16..256")
        need(self.tile % self.lanes == 0, "lanes", f"at least 2 and a divisor of tile = {self.tile}")
        hides = f"at least lanes = {self.lanes}, so that loading a tile hides behind computing one"
        need(self.query_rows >= self.lanes, "query_rows", hides)
        windows = [1 << n for n in range(self.banks.bit_length())]
        need(self.request_window in windows, "request_window", f"one of {windows}, powers of two up to config.banks")
        need(self.float_format in FLOAT_FORMATS, "float_format", "one of " + ", ".join(FLOAT_FORMATS))
        need(self.table in TABLE_STYLES, "table", "one of " + ", ".join(TABLE_STYLES))
        need(self.adder in ADDERS, "adder", "one of " + ", ".join(ADDERS))
        need(self.max_tokens >= self.tile, "max_tokens", f"in tile = {self.tile}..{1 << 20}")
        need(self.piece <= self.tile, "piece", f"in 2..tile = {self.tile}")
        need(self.cell <= self.piece, "cell", f"in 1..piece = {self.piece}")
        need(self.full_share <= self.top_share, "full_share", f"in 0..top_share = {self.top_share}")

    # -- tiers and codes --
    def passes(self, tier: Tier) -> int:
        """Table passes (4-bit digits read per product) of a tier."""
        return {Tier.LUT4: 1, Tier.LUT8: 2, Tier.FULL: self.digits}[Tier(tier)]

    @property
    def code_bits(self) -> int:
        """Bits of a stored key or value code."""
        return DIGIT_BITS * self.digits

    def digit_weights(self, step: int) -> tuple[int, ...]:
        """Weights of the digits of a code, most significant first, each 2**step times the next."""
        return tuple(1 << (step * n) for n in reversed(range(self.digits)))

    def code_max(self, step: int) -> int:
        """Largest code magnitude that quantisation uses: all digits at DIGIT_MAX."""
        return DIGIT_MAX * sum(self.digit_weights(step))

    def _code_bound(self, step: int) -> int:
        return -DIGIT_MIN * sum(self.digit_weights(step))

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
        return signed_bits(self.query_max * self._code_bound(self.key_digit_step) * self.head_dim)

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
        return signed_bits(self.prob_max * self._code_bound(self.value_digit_step) * self.max_tokens)

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
