"""Definitions of golden once more, in plain Python: integers of any size, fractions and loops."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

from golden.config import Config
from golden.formats import FORMATS, FloatFormat


def nearest(value: Fraction) -> int:
    """To nearest, ties up."""
    return math.floor(value + Fraction(1, 2))


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


# -- numbers --
def fields(form: FloatFormat, word: int) -> tuple[int, int, int]:
    """Sign, exponent and significand of a word; a subnormal one has the exponent 1."""
    exponent = word >> form.fraction_bits & form.exponent_max
    hidden = 1 << form.fraction_bits if exponent else 0
    return (-1 if word >> (form.bits - 1) else 1), max(1, exponent), word % (1 << form.fraction_bits) + hidden


def finite(form: FloatFormat, row: list[int]) -> bool:
    return all(fields(form, word)[1] < form.exponent_max for word in row)


def aligned(form: FloatFormat, word: int, bits: int, exponent: int) -> int:
    """One number as an integer at a shared exponent: to nearest, ties away from zero, saturated."""
    sign, own, significand = fields(form, word)
    exact = significand * power(bits - 1 - form.significand_bits - (exponent - own))
    return sign * min(int(exact + Fraction(1, 2)), 2 ** (bits - 1) - 1)


def shared(form: FloatFormat, row: list[int]) -> int:
    return max(fields(form, word)[1] for word in row)


def encoded(form: FloatFormat, value: Fraction) -> int:
    """The word nearest to a value, ties to an even one; zero is positive."""
    magnitude, least = abs(value), 1 - form.bias
    exponent = max(least, math.floor(math.log2(magnitude)) if magnitude else least)
    # The logarithm may be off by one next to a power of two.
    exponent += (magnitude >= power(exponent + 1)) - (magnitude < power(exponent) and exponent > least)
    word = round(magnitude / power(exponent - form.fraction_bits)) + ((exponent - least) << form.fraction_bits)
    return min(word, form.exponent_max << form.fraction_bits) | (value < 0) << (form.bits - 1)


# -- rotation --
def sign(row: int, column: int) -> int:
    """An entry of the Sylvester-Hadamard matrix: the parity of the bits that both indices share."""
    return -1 if (row & column).bit_count() % 2 else 1


def block(config: Config) -> int:
    """Channels that are mixed: the largest power of two that divides them all."""
    return config.head_dim & -config.head_dim if config.rotate else 1


def rotated(config: Config, vector: list[int]) -> list[int]:
    """Every block of channels times the matrix, one product after the other."""
    size, found = block(config), []
    for start in range(0, len(vector), size):
        part = vector[start : start + size]
        found += [sum(sign(i, j) * part[j] for j in range(size)) for i in range(size)]
    return found


def halvings(config: Config) -> int:
    """Bits by which a rotated vector is shifted: half of those by which its square grew, rounded down."""
    return (block(config).bit_length() - 1) // 2


# -- preparation --
def statistics(config: Config, rows: list[list[int]]) -> tuple[int, list[int], list[int], int]:
    """Exponent, total, mean and reach, row after row."""
    form, channels = FORMATS[config.float_format], len(rows[0])
    exponent, total, reach = 0, [0] * channels, 0
    for row in rows:
        own = shared(form, row)
        if exponent and own > exponent:
            # More than all bits of a sum leaves nothing of it; the reach is rounded up.
            down = min(own - exponent, config.total_bits)
            total, reach = [each // 2**down for each in total], reach // 2**down + 1
        exponent = max(exponent, own)
        numbers = [aligned(form, word, config.input_bits, exponent) for word in row]
        total = [each + number for each, number in zip(total, numbers, strict=True)]
        reach = max(reach, sum(map(abs, numbers)))
    shift = 16 + len(rows).bit_length()
    inverse = 2**shift // len(rows)
    mean = [(each * inverse + 2 ** (shift - 1)) // 2**shift for each in total]
    return exponent, total, mean, reach + sum(map(abs, mean)) + channels


def prepared_query(config: Config, row: list[int]) -> list[int]:
    """A query row, rotated: words once more."""
    form = FORMATS[config.float_format]
    if not finite(form, row):
        return [form.nan] * len(row)
    exponent = shared(form, row)
    numbers = rotated(config, [aligned(form, word, config.input_bits, exponent) for word in row])
    unit = exponent - form.bias - (config.input_bits - 2) - halvings(config)
    return [encoded(form, x * power(unit)) for x in numbers]


def prepared_vectors(config: Config, rows: list[list[int]]) -> list[list[int]]:
    """Keys or values, centred and rotated."""
    exponent, _, mean, _ = statistics(config, rows)
    form, half = FORMATS[config.float_format], power(halvings(config))
    found = []
    for row in rows:
        numbers = [aligned(form, word, config.input_bits, exponent) for word in row]
        turned = rotated(config, [x - m for x, m in zip(numbers, mean, strict=True)])
        found.append([nearest(x / half) for x in turned])
    return found


# -- pooled rows --
@dataclasses.dataclass
class Sum:
    """Rows of a part: mantissa * 2**exponent in every channel."""

    mantissa: list[int]
    exponent: int
    size: int


def pooled(config: Config, rows: list[list[int]], exponents: list[int]) -> Sum:
    """The sum of the rows of one part."""
    total, running = [0] * len(rows[0]), exponents[0]
    for row, exponent in zip(rows, exponents, strict=True):
        common = max(running, exponent)
        old, new = 2 ** (common - running), 2 ** (common - exponent)
        total, running = [t // old + x // new for t, x in zip(total, row, strict=True)], common
    # As many bits as the largest needs are scaled to pool_bits, sign included.
    shift = max(map(abs, total)).bit_length() - (config.pool_bits - 1)
    most = 2 ** (config.pool_bits - 1) - 1
    return Sum([min(most, nearest(t / power(shift))) for t in total], running + shift, len(rows))


def reciprocal(size: int) -> tuple[int, int]:
    """Nine bits, and the negative power of two, of 1 / size."""
    exponent = 7 + size.bit_length()
    return (2**exponent + size // 2) // size, exponent


# -- estimates --
def score(config: Config, query: Sum, key: Sum, scale: tuple[int, int]) -> int:
    """The base-2 score of two means, rounded and saturated."""
    (of_query, down), (of_key, further) = reciprocal(query.size), reciprocal(key.size)
    gain = (scale[0] * of_query + 2**7) // 2**8
    product = sum(q * k for q, k in zip(query.mantissa, key.mantissa, strict=True)) * of_key * gain
    places = scale[1] - 15 + 8 + query.exponent - down + key.exponent - further + config.estimate_fraction_bits
    bound = 2 ** (config.estimate_bits - 1)
    return max(-bound, min(bound - 1, nearest(product * power(places))))


def log_mass(config: Config, scores: list[int], sizes: list[int]) -> int:
    """log2 of the sum of 2**score, each as often as its key has rows, against a running integer maximum."""
    steps = 2**config.estimate_fraction_bits
    running, total = -(2 ** (config.estimate_integer_bits - 1)), 0
    for each, size in zip(scores, sizes, strict=True):
        raised = max(running, math.ceil(Fraction(each, steps)))
        whole, part = divmod(raised * steps - each, steps)
        one = round(2**config.mass_bits * 2 ** (-part / steps))
        total = total // 2 ** (raised - running) + size * one // 2**whole
        running = raised
    length = max(1, total.bit_length())
    index = int(total / power(length - 1) % 1 * steps)
    logarithm = round(steps * math.log2(1 + (index + 0.5) / steps))
    return (running + length - 1 - config.mass_bits) * steps + logarithm


def ranks(
    config: Config, query: Sum, keys: list[Sum], scale: tuple[int, int], part_of: list[int], inside: list[bool]
) -> list[int]:
    """Ranks of all parts of the keys for one pooled query, which looks at the keys inside."""
    least = -(2**config.estimate_bits)
    scores = [score(config, query, key, scale) if on else 0 for key, on in zip(keys, inside, strict=True)]
    looked = [n for n, on in enumerate(inside) if on]
    mass = log_mass(config, [scores[n] for n in looked], [keys[n].size for n in looked])
    return [max([least, *(scores[n] - mass for n in looked if part_of[n] == part)]) for part in range(max(part_of) + 1)]


# -- restoring --
def restored(config: Config, row: list[int], mean: list[int], exponent: int) -> list[int]:
    """A row of FP16 words, rotated back, with the mean of values of that exponent."""
    form, out = FORMATS[config.float_format], FORMATS["fp16"]
    if not finite(out, row):
        return [out.nan] * len(row)
    own = shared(out, row)
    back = rotated(config, [aligned(out, word, config.input_bits, own) for word in row])
    unit = own - out.bias - (config.input_bits - 2) + halvings(config) - (block(config).bit_length() - 1)
    of_mean = exponent - form.bias - (config.input_bits - 2)
    common = max(unit, of_mean - 12)
    return [
        encoded(out, (nearest(x * power(unit - common)) + nearest(m * power(of_mean - common))) * power(common))
        for x, m in zip(back, mean, strict=True)
    ]
