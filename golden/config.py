"""The one source of every parameter: a frozen, validated configuration and the widths that follow from it."""

from __future__ import annotations

import dataclasses
import enum

from golden.parameters import ADDERS, DIGIT_BITS, DIGIT_MAX, DIGIT_MIN, FLOAT_FORMATS, TABLE_STYLES, Parameters

__all__ = [
    "ADDERS",
    "DIGIT_BITS",
    "DIGIT_MAX",
    "DIGIT_MIN",
    "FLOAT_FORMATS",
    "TABLE_STYLES",
    "Config",
    "Tier",
    "signed_bits",
    "unsigned_bits",
]


class Tier(enum.IntEnum):
    """How exactly a block or key is computed; a higher tier reads more digits. See `Config.passes`."""

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
class Config(Parameters):
    """A configuration. Widths follow from its fields by exact bounds; they are properties, never typed elsewhere."""

    # -- tiers and codes --
    def digits_read(self, tier: Tier) -> int:
        """Leading digits of a code that a tier computes with."""
        return {Tier.LUT4: 1, Tier.LUT8: 2, Tier.FULL: self.digits}[Tier(tier)]

    def passes(self, tier: Tier) -> int:
        """Passes of a tier: one for each digit, but a single one for FULL if it has multipliers."""
        return 1 if tier == Tier.FULL and self.word_digits > 1 else self.digits_read(tier)

    @property
    def word_digits(self) -> int:
        """Digits of a code that a pass reads at most: all of them if FULL has multipliers."""
        return self.digits if self.full_engine == "multipliers" else 1

    @property
    def code_bits(self) -> int:
        """Bits of a stored key or value code."""
        return DIGIT_BITS * self.digits

    def digit_weights(self, step: int) -> tuple[int, ...]:
        """Weights of the digits of a code, most significant first, each 2**step times the next."""
        return tuple(1 << (step * n) for n in reversed(range(self.digits)))

    def code_max(self, step: int) -> int:
        """Largest code magnitude that quantisation uses: what the first digit rounds to its largest, or all digits."""
        weight, *rest = self.digit_weights(step)
        return DIGIT_MAX * weight + min(weight // 2, DIGIT_MAX * sum(rest))

    def _code_bound(self, step: int, digits: int) -> int:
        return -DIGIT_MIN * sum(self.digit_weights(step)[-digits:])

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

    # -- preparation --
    @property
    def rotation_stages(self) -> int:
        """Stages of the Hadamard transform: log2 of the channels that it mixes, the largest that divides head_dim."""
        return (self.head_dim & -self.head_dim).bit_length() - 1 if self.rotate else 0

    @property
    def rotation_shift(self) -> int:
        """Bits by which rotated keys and values are shifted right, which keeps their length up to a factor sqrt(2)."""
        return self.rotation_stages // 2

    @property
    def input_max(self) -> int:
        """Largest magnitude of an aligned element of a raw row."""
        return (1 << (self.input_bits - 1)) - 1

    @property
    def total_bits(self) -> int:
        """Bits of the sum of max_tokens elements."""
        return signed_bits(self.input_max * self.max_tokens)

    @property
    def reach_bits(self) -> int:
        """Bits of the sum of a row's magnitudes and of the mean's."""
        return unsigned_bits((2 * self.input_max + 1) * self.head_dim)

    @property
    def centred_bits(self) -> int:
        """Bits of an element less the mean."""
        return signed_bits(2 * self.input_max)

    @property
    def rotated_max(self) -> int:
        """Largest magnitude of a channel of a rotated key or value."""
        return (2 * self.input_max << self.rotation_stages >> self.rotation_shift) + 1

    @property
    def rotated_bits(self) -> int:
        """Bits of a channel of a rotated key or value."""
        return signed_bits(self.rotated_max)

    @property
    def prepare_interval(self) -> int:
        """Cycles that a key or value row takes: all keys and values half of what their first query tile does."""
        return max(1, self.query_rows // self.lanes // 4)

    @property
    def prepare_channels(self) -> int:
        """Channels that are quantised per cycle: the fewest, dividing head_dim, that keep up."""
        wanted = -(-self.head_dim // self.prepare_interval)
        return next(n for n in range(wanted, self.head_dim + 1) if self.head_dim % n == 0)

    # -- places --
    @property
    def place_bits(self) -> int:
        """Bits of a number of tokens of a head."""
        return unsigned_bits(self.max_tokens)

    @property
    def frame_bits(self) -> int:
        """Bits of the number of a frame: 0 for text, else counted from 1."""
        return unsigned_bits(self.max_frames)

    @property
    def head_number_bits(self) -> int:
        """Bits of the number of a head, counted round: each core may hold four, a few more are being prepared."""
        return unsigned_bits(4 * self.cores + 4)

    @property
    def query_cells(self) -> int:
        """Most cells of a query tile: those of all tiles that are joined, where rows are reused."""
        joined = self.group_window if self.reuse_distance else 1
        return min(self.query_rows, joined * self.query_rows // self.cell)

    # -- speculation --
    @property
    def estimate_integer_bits(self) -> int:
        """Integer bits of an estimated base-2 score, sign included; scores saturate beyond."""
        return 8

    @property
    def estimate_bits(self) -> int:
        """Bits of an estimated base-2 score."""
        return self.estimate_integer_bits + self.estimate_fraction_bits

    @property
    def rank_bits(self) -> int:
        """Bits of a rank: the base-2 logarithm of a probability, the difference of two scores."""
        return self.estimate_bits + 1

    @property
    def mass_bits(self) -> int:
        """Fraction bits of the sum that a softmax over pooled keys is divided by."""
        return 12

    @property
    def mass_total_bits(self) -> int:
        """Bits of that sum over max_tokens keys."""
        return unsigned_bits(self.max_tokens << self.mass_bits)

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
        """Bits of one pass of q . k over head_dim channels."""
        return signed_bits(self.query_max * self._code_bound(self.key_digit_step, self.word_digits) * self.head_dim)

    @property
    def key_sum_bits(self) -> int:
        """Bits of q . k over all digits of a code."""
        return signed_bits(self.query_max * self._code_bound(self.key_digit_step, self.digits) * self.head_dim)

    @property
    def running_max_bits(self) -> int:
        """Bits of the integer running maximum: the ceiling of any score."""
        return signed_bits(1 << (self.score_integer_bits - 1))

    # -- accumulation --
    @property
    def value_dot_bits(self) -> int:
        """Bits of one pass of p . v over the lanes."""
        return signed_bits(self.prob_max * self._code_bound(self.value_digit_step, self.word_digits) * self.lanes)

    @property
    def output_sum_bits(self) -> int:
        """Bits of an output accumulator: no sum over max_tokens keys can overflow it."""
        return signed_bits(self.prob_max * self._code_bound(self.value_digit_step, self.digits) * self.max_tokens)

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
    def output_slices(self) -> int:
        """Slices of so many channels that a row is normalised and restored in."""
        return self.head_dim // self.output_lanes

    @property
    def reciprocal_bits(self) -> int:
        """Bits of the normaliser's mantissas: five more than FP16 keeps."""
        return 16

    @property
    def peak_products(self) -> int:
        """Table lookups per cycle of both arrays, q . k and p . v."""
        return 2 * self.lanes * self.head_dim
