"""Quantisation in PyTorch, for all heads of a layer: what golden.quantise defines, written again.

The digits are golden's; but where keys are shaped, only as long as no element of the feedback, which comes from a
Cholesky factorisation in float64, lies within its last bit of a tie of rounding.
"""

from __future__ import annotations

from golden.config import DIGIT_MAX, DIGIT_MIN, Config
from golden.tables import CODE_FRACTION_BITS, FACTOR_BITS, INVERSE_BITS, ONE
from scripts.torch_align import MOST_SHIFT, Tensor, bit_length, finite_rows, shifted, torch

FEEDBACK_BITS = 8
DAMPING = 0.01


def scales(config: Config, largest: Tensor, factor: int, step: int, least: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissas and exponents [heads, tokens] of the least scales at which no code of a vector clips.

    `largest` [heads, tokens] are the largest magnitudes of the vectors, `least` [heads, 1] the smallest exponents.
    """
    half = 1 << (config.scale_bits - 1)
    product = largest * (factor * -(-(1 << INVERSE_BITS) // config.code_max(step)))
    shift = (bit_length(product) - config.scale_bits).clamp(min=0)
    mantissa = -(-product >> shift)
    over = mantissa == 2 * half
    exponent = shift + over - INVERSE_BITS - (FACTOR_BITS - 1)
    small = (product == 0) | (exponent < least)
    return torch.where(small | over, half, mantissa), torch.where(small, least, exponent)


def scaled(config: Config, vectors: Tensor, factor: int, mantissa: Tensor, exponent: Tensor) -> Tensor:
    """Vectors [heads, tokens, channels] times factor / ONE in units of their scales; CODE_FRACTION_BITS."""
    inverse_bits = config.scale_bits + FACTOR_BITS - 2
    inverse = ((1 << inverse_bits) + (mantissa >> 1)) // mantissa
    gain = (factor * inverse + (ONE >> 1)) >> (FACTOR_BITS - 1)
    shift = (inverse_bits + exponent - CODE_FRACTION_BITS).clamp(0, MOST_SHIFT)
    return shifted(vectors * gain[..., None], shift[..., None])


def nearest(config: Config, units: Tensor, step: int) -> Tensor:
    """Digits [digits, ...], int8, of numbers in units of their scale, each digit rounded to nearest."""
    rest, found = units, []
    lead, *others = config.digit_weights(step)
    beyond = max(0.0, lead / 2 - DIGIT_MAX * sum(others))
    returned = round(beyond**2 / (2 * lead) * (1 << CODE_FRACTION_BITS))
    for weight in (lead, *others):
        unit = weight << CODE_FRACTION_BITS
        digit = ((rest + (unit >> 1)) // unit).clamp(DIGIT_MIN if found else -DIGIT_MAX, DIGIT_MAX)
        rest = rest - digit * unit + (0 if found else returned)
        found.append(digit.to(torch.int8))
    return torch.stack(found)


def feedback(query: Tensor) -> Tensor:
    """[heads, channels, channels], integers with FEEDBACK_BITS fraction bits, from the moments of the queries."""
    finite, _ = finite_rows(query)
    moments = finite.mT @ finite
    mean = moments.diagonal(dim1=1, dim2=2).mean(dim=1)
    damping = torch.where(mean > 0, DAMPING * mean, 1.0)
    eye = torch.eye(query.shape[2], dtype=torch.float64, device=query.device)
    upper = torch.linalg.cholesky(moments + damping[:, None, None] * eye).mT
    unit = upper / upper.diagonal(dim1=1, dim2=2)[:, :, None]
    return torch.round(unit.triu(1) * 2**FEEDBACK_BITS)


def shaped(config: Config, units: Tensor, feedback: Tensor, step: int) -> Tensor:
    """Digits [digits, heads, tokens, channels], int8, of keys in units of their scale, rounded with feedback."""
    rest = units.mT.double().contiguous()  # [heads, channels, tokens]
    weights = config.digit_weights(step)
    found = torch.empty((len(weights), *rest.shape), dtype=torch.float64, device=units.device)
    for i, weight in enumerate(weights):
        unit = weight << CODE_FRACTION_BITS
        reach = DIGIT_MAX * sum(weights[i + 1 :]) << CODE_FRACTION_BITS
        error = torch.zeros_like(rest)
        for channel in reversed(range(rest.shape[1])):
            target, later = rest[:, channel], slice(channel + 1, None)
            pushed = torch.bmm(feedback[:, channel : channel + 1, later], error[:, later])[:, 0]
            digit = torch.floor((target + torch.floor(pushed / 2**FEEDBACK_BITS) + unit // 2) / unit)
            if reach:  # no farther than what the digits after this one can make up for
                digit = digit.clamp(torch.ceil((target - reach) / unit), torch.floor((target + reach) / unit))
            found[i, :, channel] = digit.clamp_(DIGIT_MIN, DIGIT_MAX)
            error[:, channel] = target - found[i, :, channel] * unit
        rest = error
    return found.mT.to(torch.int8)
