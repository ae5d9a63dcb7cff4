"""The fields of a configuration, with their defaults and limits; what follows from them is in golden.config."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Self

DIGIT_BITS = 4
"""Bits of one table lookup: a code is a string of signed 4-bit digits and every pass reads one of them."""
DIGIT_MIN, DIGIT_MAX = -(1 << (DIGIT_BITS - 1)), (1 << (DIGIT_BITS - 1)) - 1

TABLE_STYLES = ("multiply", "booth", "odd", "full", "pairs", "signed", "half_pairs", "half_triples", "half_quads")
ADDERS = ("carry", "save")
FULL_ENGINES = ("tables", "multipliers")
FLOAT_FORMATS = ("fp16", "bf16")


def limited(default: float, least: float, most: float) -> Any:
    """A field of a configuration, with its least and largest value."""
    return dataclasses.field(default=default, metadata={"least": least, "most": most})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameters:
    """Everything that shapes the hardware and its golden model."""

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
    input_bits: int = limited(16, 12, 20)
    """Bits of an aligned element of a raw row, sign included."""
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
    max_frames: int = limited(256, 1, 1 << 14)
    """Most frames of a head; sizes what speculation remembers of them."""
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
    full_engine: str = "tables"
    """What computes FULL: tables, in a pass for each digit, or plain multipliers, in one: the DSP blocks of an FPGA."""

    # -- preparation, speculation, matching and grouping --
    rotate: bool = True
    """Rotate Q, K and V by a Hadamard transform before quantisation."""
    shape_keys: bool = False
    """Round the digits of keys so that errors fall where the queries of the head do not look: in software only."""
    piece: int = limited(16, 2, 1024)
    """Tokens of a piece of a key tile, which has one tier for all rows of a query tile."""
    cell: int = limited(8, 1, 1024)
    """Tokens of a cell of a piece: the finest thing that speculation looks at, in queries and in keys."""
    pool_bits: int = limited(9, 6, 14)
    """Bits of the pooled queries and keys that speculation multiplies, sign included."""
    estimate_fraction_bits: int = limited(6, 3, 8)
    """Fraction bits of an estimated base-2 score, and of the base-2 logarithm of a probability."""
    frame_mass: float = limited(0.99, 0, 1)
    """Speculated softmax mass of the frames inside which pieces are judged; with 1, all are."""
    top_share: float = limited(0.125, 0, 1)
    """Share of the products of a layer in the top tiers, LUT8 and FULL."""
    full_share: float = limited(0.04, 0, 1)
    """Share of the products of a layer in FULL, where that is more exact than LUT8; part of top_share."""
    reuse_distance: float = limited(0.0, 0, 2)
    """Relative L2 distance below which a query row takes the result of its reference row; 0 computes all rows."""
    match_bits: int = limited(10, 6, 16)
    """Bits of the rows that matching compares, sign included."""
    group_window: int = limited(2, 1, 64)
    """Query tiles of a frame that grouping may join, where reuse left few rows in them."""
    cores: int = limited(1, 1, 64)
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
        need(self.full_engine in FULL_ENGINES, "full_engine", "one of " + ", ".join(FULL_ENGINES))
        need(self.max_tokens >= self.tile, "max_tokens", f"in tile = {self.tile}..{1 << 20}")
        need(self.tile % self.piece == 0, "piece", f"a divisor of tile = {self.tile}")
        need(self.piece % self.cell == 0, "cell", f"a divisor of piece = {self.piece}")
        need(self.query_rows % self.cell == 0, "cell", f"a divisor of query_rows = {self.query_rows}")
        need(self.full_share <= self.top_share, "full_share", f"in 0..top_share = {self.top_share}")

    def to_json(self) -> str:
        """All fields as JSON; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
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
