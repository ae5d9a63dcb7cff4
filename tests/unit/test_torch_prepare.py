"""Preparation in PyTorch, part by part. That its digits are golden's: see test_torch_attention."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from golden.align import align
from golden.formats import FORMATS
from golden.presets import preset
from golden.quantise import nearest

torch: Any = pytest.importorskip("torch")
torch_prepare: Any = pytest.importorskip("scripts.torch_prepare")


@pytest.mark.parametrize("form", FORMATS)
def test_rounding_is_one_rounding(form: str) -> None:
    rng = np.random.default_rng(2)
    most = float(np.exp2(16 if form == "fp16" else 40))
    x = rng.standard_normal(5000) * np.exp2(rng.uniform(-30, 15, 5000))
    bits = FORMATS[form].encode(x)
    bits = bits[np.isfinite(FORMATS[form].decode(bits + np.uint16(1)))]
    ties = (FORMATS[form].decode(bits) + FORMATS[form].decode(bits + np.uint16(1))) / 2
    x = np.concatenate([x, ties, np.nextafter(ties, most), np.nextafter(ties, -most), [0.0, most, -most, np.inf]])
    near = torch_prepare.rounded(torch.tensor(x), form).numpy()
    # The nearest of the numbers of the format, by brute force around each.
    known = np.unique(FORMATS[form].decode(np.arange(1 << 16, dtype=np.uint16)))
    known = known[np.isfinite(known)]
    inside = np.abs(x) < known[-1]
    spot = np.clip(np.searchsorted(known, x[inside]), 1, len(known) - 1)
    gap = np.minimum(known[spot] - x[inside], x[inside] - known[spot - 1])
    assert (np.abs(near[inside] - x[inside]) == gap).all()
    assert np.isin(near[inside], known).all()
    if form == "fp16":
        assert np.isinf(near[~inside]).all()


def test_queries_are_aligned_as_golden_aligns_them() -> None:
    rng = np.random.default_rng(3)
    for name in ("tiny", "amd"):
        config = preset(name)
        form = FORMATS[config.float_format]
        bits = form.encode(rng.standard_normal((500, config.head_dim)) * np.exp2(rng.uniform(-20, 8, (500, 1))))
        bits[7] = 0
        wanted = align(config, bits)
        mantissa, scale = torch_prepare.align(config, torch.tensor(form.decode(bits)))
        assert (mantissa.numpy() == wanted.mantissa).all()
        assert (scale.numpy() == np.exp2(wanted.exponent - form.bias - (config.query_bits - 2.0))).all()


@pytest.mark.parametrize("step", [2, 3, 4])
@pytest.mark.parametrize("digits", [2, 3])
def test_digits_of_values_are_goldens(step: int, digits: int) -> None:
    config = dataclasses.replace(preset("tiny"), digits=digits, value_digit_step=step)
    most = config.code_max(step)
    values = np.linspace(-most, most, 4001).reshape(1, -1)
    assert (torch_prepare.nearest(config, torch.tensor(values), step).numpy() == nearest(config, values, step)).all()
