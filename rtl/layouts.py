"""Payloads of the streams, all widths from the configuration."""

from __future__ import annotations

from amaranth.hdl import ShapeLike, signed, unsigned
from amaranth.lib import data

from golden.config import DIGIT_BITS, Config
from golden.formats import FORMATS, FP16, FloatFormat


def row(config: Config, form: FloatFormat | None = None) -> data.StructLayout:
    """One row of a head in a format, that of its tensors if none is given; `last` ends the head."""
    bits = (form or FORMATS[config.float_format]).bits
    return data.StructLayout({"elements": data.ArrayLayout(bits, config.head_dim), "last": 1})


def mean(config: Config) -> data.ArrayLayout:
    """The mean of a head's keys or values."""
    return data.ArrayLayout(signed(config.input_bits), config.head_dim)


def query(config: Config) -> data.StructLayout:
    """One query row as it enters the core; `last` ends the query tile."""
    return data.StructLayout(
        {
            "elements": data.ArrayLayout(FORMATS[config.float_format].bits, config.head_dim),
            "output_exponent": signed(config.output_exponent_bits),
            "last": 1,
        }
    )


def row_info(config: Config) -> data.StructLayout:
    """What a row's result needs besides its sums: the power of two it is scaled by, and whether it is a NaN."""
    return data.StructLayout({"output_exponent": signed(config.output_exponent_bits), "invalid": 1})


def query_tag(config: Config) -> data.StructLayout:
    """What travels beside a row's mantissas: their shared exponent and the row's info."""
    return data.StructLayout({"exponent": FORMATS[config.float_format].exponent_bits, "info": row_info(config)})


def aligned(config: Config) -> data.StructLayout:
    """One aligned query row."""
    return data.StructLayout(
        {"mantissa": data.ArrayLayout(signed(config.query_bits), config.head_dim), "tag": query_tag(config), "last": 1}
    )


def scales(config: Config) -> data.StructLayout:
    """Scales of a token's key and value."""
    return data.StructLayout(
        {
            "key_mantissa": config.scale_bits,
            "key_exponent": signed(config.key_exponent_bits),
            "value_mantissa": config.scale_bits,
            "value_shift": config.value_exponent_bits,
        }
    )


def token(config: Config) -> data.StructLayout:
    """One token of a key/value tile as it enters the core; `last` ends the tile."""
    codes = data.ArrayLayout(config.code_bits, config.head_dim)
    return data.StructLayout({"key": codes, "value": codes, "scales": scales(config), "last": 1})


def group(config: Config) -> data.StructLayout:
    """One lane group of a key tile; `last` ends the tile, `final` says that the tile is the query tile's last."""
    return data.StructLayout(
        {
            "tier": config.tier_bits,
            "tokens": data.ArrayLayout(config.token_bits, config.lanes),
            "active": config.lanes,
            "last": 1,
            "final": 1,
        }
    )


def whole(config: Config) -> int:
    """Bits of the mark of a pass that reads whole codes: none where no pass does."""
    return int(config.word_digits > 1)


def visit(config: Config) -> data.StructLayout:
    """Where a beat stands in its row: a row is visited once for every key tile."""
    return data.StructLayout(
        {
            "row": config.row_bits,
            "start": 1,  # first group of the visit
            "end": 1,  # last group of the visit
            "first": 1,  # the query tile's first key tile
            "final": 1,  # the query tile's last key tile
        }
    )


def beat(config: Config) -> data.StructLayout:
    """One pass: the digit that one row reads of one lane group, or all of them."""
    return data.StructLayout(
        {
            "tokens": data.ArrayLayout(config.token_bits, config.lanes),
            "active": config.lanes,
            "digit": config.digit_index_bits,
            "whole": whole(config),
            "last_digit": 1,
            "visit": visit(config),
            "row_end": 1,  # last pass of the visit
            "tile_end": 1,  # last pass of the key tile
            "query_end": 1,  # the query tile's last row meets its last key tile
            "tile_slot": range(config.tile_slots),
            "query_slot": range(QUERY_SLOTS),
        }
    )


QUERY_SLOTS = 3
"""Query tiles held: one is computed while the next is speculated, or waits, and another one is loaded."""


def word(config: Config) -> data.ArrayLayout:
    """What a pass reads of every channel of a token: a digit; or whole codes, where a single digit is at their top."""
    return data.ArrayLayout(DIGIT_BITS * config.word_digits, config.head_dim)


def key_tag(config: Config) -> data.StructLayout:
    """What travels beside the digits of a lane group through the q . k multiplier."""
    return data.StructLayout(
        {
            "digit": config.digit_index_bits,
            "whole": whole(config),
            "last_digit": 1,
            "active": config.lanes,
            "scales": data.ArrayLayout(scales(config), config.lanes),
            "visit": visit(config),
        }
    )


def scored(config: Config) -> data.StructLayout:
    """Scores of one row and lane group."""
    return data.StructLayout(
        {
            "score": data.ArrayLayout(signed(config.score_bits), config.lanes),
            "active": config.lanes,
            "scales": data.ArrayLayout(scales(config), config.lanes),
            "visit": visit(config),
            "info": row_info(config),
        }
    )


def prob_tag(config: Config) -> data.StructLayout:
    """What a lane group's probabilities do to the row's sums besides p . v."""
    return data.StructLayout(
        {"rescale": config.rescale_bits, "prob_sum": config.group_prob_bits, "info": row_info(config)}
    )


def value_tag(config: Config) -> data.StructLayout:
    """What travels beside the digits of a lane group through the p . v multiplier."""
    return data.StructLayout(
        {"digit": config.digit_index_bits, "whole": whole(config), "last_digit": 1, "visit": visit(config)}
    )


def operand(bits: int, operands: int, tag: ShapeLike) -> data.StructLayout:
    """The long-lived operand vector of a multiplier."""
    return data.StructLayout({"mantissa": data.ArrayLayout(signed(bits), operands), "tag": tag})


def product(dot_bits: int, readers: int, operand_tag: ShapeLike, tag: ShapeLike) -> data.StructLayout:
    """The dot products of one pass."""
    return data.StructLayout(
        {"dot": data.ArrayLayout(signed(dot_bits), readers), "operand_tag": operand_tag, "tag": tag}
    )


def key_operand(config: Config) -> data.StructLayout:
    """A query row, as the q . k multiplier takes it."""
    return operand(config.query_bits, config.head_dim, query_tag(config))


def key_product(config: Config) -> data.StructLayout:
    """One pass of q . k: a dot product for every key lane."""
    return product(config.key_dot_bits, config.lanes, query_tag(config), key_tag(config))


def value_operand(config: Config) -> data.StructLayout:
    """The weights of a lane group, as the p . v multiplier takes them."""
    return operand(config.prob_bits, config.lanes, prob_tag(config))


def value_product(config: Config) -> data.StructLayout:
    """One pass of p . v: a dot product for every channel."""
    return product(config.value_dot_bits, config.head_dim, prob_tag(config), value_tag(config))


def row_sums(config: Config) -> data.StructLayout:
    """The running sums of one row."""
    return data.StructLayout(
        {
            "prob_total": unsigned(config.prob_sum_bits),
            "output_sum": data.ArrayLayout(signed(config.output_sum_bits), config.head_dim),
        }
    )


def finished(config: Config) -> data.StructLayout:
    """The sums of a row that has met all its keys."""
    return data.StructLayout({"sums": row_sums(config), "info": row_info(config)})


def output(config: Config) -> data.ArrayLayout:
    """One output row in FP16."""
    return data.ArrayLayout(FP16.bits, config.head_dim)
