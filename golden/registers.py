"""What the driver tells the hardware of a head before its rows come."""

from __future__ import annotations

import dataclasses

import numpy as np

from golden.config import Config
from golden.layer import Plan
from golden.speculate import frame_floor


@dataclasses.dataclass(frozen=True)
class Registers:
    """The configuration of a head: the shape of its tokens, the softmax scale, and what speculation compares with."""

    text_tokens: int
    frame_tokens: int
    factor: int
    """See golden.prepare.softmax_factor"""
    factor_exponent: int
    frame_floor: int
    """See golden.speculate.frame_floor"""
    lut8: int
    """The thresholds of the layer, from its heads or from the last step: see golden.speculate.thresholds"""
    full: int


def registers(config: Config, made: Plan) -> Registers:
    """The registers of a planned head."""
    limit = (1 << (config.rank_bits - 1)) - 1  # no rank is as large: only text is in a tier from there on
    factor, exponent = made.prepared.factor
    return Registers(
        text_tokens=made.head.text_tokens,
        frame_tokens=int(np.prod(made.head.grid[1:])),
        factor=factor,
        factor_exponent=exponent,
        frame_floor=frame_floor(config, len(made.head.k)),
        lut8=min(made.thresholds.lut8, limit),
        full=min(made.thresholds.full, limit),
    )
