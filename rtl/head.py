"""What the hardware is told of a head, and what it finds out about it and stores."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

from golden.config import Config
from golden.formats import FORMATS
from golden.tables import FACTOR_BITS
from rtl import layouts, pool


def shape(config: Config) -> data.StructLayout:
    """Its tokens: text first, then frames of equal size."""
    return data.StructLayout({"text_tokens": config.place_bits, "frame_tokens": config.place_bits})


def head(config: Config) -> data.StructLayout:
    """The registers of a head: see golden.registers."""
    return data.StructLayout(
        {
            "tokens": shape(config),
            "factor": FACTOR_BITS,
            "factor_exponent": signed(config.key_exponent_bits),
            "frame_floor": signed(config.rank_bits),
            "lut8": signed(config.rank_bits),
            "full": signed(config.rank_bits),
        }
    )


def measured(config: Config) -> data.StructLayout:
    """What preparation found out about a head, for its queries and its output."""
    return data.StructLayout(
        {
            "key_exponent": FORMATS[config.float_format].exponent_bits,
            "value_exponent": FORMATS[config.float_format].exponent_bits,
            "value_mean": layouts.mean(config),
            "output_exponent": signed(config.output_exponent_bits),
        }
    )


def job(config: Config) -> data.StructLayout:
    """A query tile for a core: what is to be known of its head, and which of its rows come."""
    return data.StructLayout(
        {
            "head": head(config),
            "measured": measured(config),
            "number": config.head_number_bits,  # of the head, counted round
            "first": config.place_bits,  # rows of the head in earlier query tiles
        }
    )


def result(config: Config) -> data.StructLayout:
    """One row of the output, in FP16; `last` ends its query tile."""
    return data.StructLayout(
        {
            "elements": layouts.output(config),
            "number": config.head_number_bits,  # of its head
            "row": config.place_bits,  # computed rows of the head before it
            "last": 1,
        }
    )


def prepared(config: Config) -> data.StructLayout:
    """One key, or `value`, as tokens of the core hold it; `last` ends its tile, `head_last` the head.

    `exponent` is that of a key's scale, and the shift of a value's: see `layouts.scales`.
    """
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(config.code_bits, config.head_dim),
            "mantissa": config.scale_bits,
            "exponent": signed(config.key_exponent_bits),
            "value": 1,
            "last": 1,
            "head_last": 1,
        }
    )


def pooled(config: Config) -> data.StructLayout:
    """Pooled keys or queries of a cell or of a tile, and where they stand."""
    own = pool.pooled(config, *pool.query_form(config))  # whose exponents are the wider ones
    return data.StructLayout(
        {
            **{name: own[name].shape for name in ("mantissa", "exponent", "size")},
            "frame": config.frame_bits,
            "part_end": 1,  # the last of its piece, or for a tile of its frame
            "frame_end": 1,  # the last of its frame
            "last": 1,  # the last cell, or tile, of the head
        }
    )
