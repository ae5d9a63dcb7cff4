"""Preparation and estimates in PyTorch, part by part, bit for bit; as a whole: see test_torch_attention."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from golden import align, estimate, match, pool, quantise, restore, rotate
from golden.config import Config
from golden.formats import FORMATS, FP16
from golden.presets import preset
from golden.statistics import Statistics, statistics

torch: Any = pytest.importorskip("torch")
torch_align: Any = pytest.importorskip("scripts.torch_align")
torch_estimate: Any = pytest.importorskip("scripts.torch_estimate")
torch_prepare: Any = pytest.importorskip("scripts.torch_prepare")
torch_quantise: Any = pytest.importorskip("scripts.torch_quantise")
torch_speculate: Any = pytest.importorskip("scripts.torch_speculate")

PRESETS = ("tiny", "asic", "amd", "paper")


def words(config: Config, rows: int, seed: int, spread: tuple[float, float] = (-12, 8)) -> np.ndarray:
    """Rows [rows, head_dim] of words of finite numbers of unlike magnitudes, some of them zeros."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, config.head_dim)) * np.exp2(rng.uniform(*spread, (rows, 1)))
    x[rng.random(rows) < 0.1] = 0
    return FORMATS[config.float_format].encode(x)


def values(config: Config, bits: np.ndarray) -> Any:
    return torch.tensor(FORMATS[config.float_format].decode(bits))


@pytest.mark.parametrize("form", FORMATS)
def test_rounding_is_one_rounding(form: str) -> None:
    rng = np.random.default_rng(2)
    most = float(np.exp2(16 if form == "fp16" else 40))
    x = rng.standard_normal(5000) * np.exp2(rng.uniform(-30, 15, 5000))
    bits = FORMATS[form].encode(x)
    bits = bits[np.isfinite(FORMATS[form].decode(bits + np.uint16(1)))]
    ties = (FORMATS[form].decode(bits) + FORMATS[form].decode(bits + np.uint16(1))) / 2
    x = np.concatenate([x, ties, np.nextafter(ties, most), np.nextafter(ties, -most), [0.0, most, -most, np.inf]])
    near = torch_align.rounded(torch.tensor(x), form).numpy()
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


@pytest.mark.parametrize("bits", [6, 10, 13, 16, 20])
@pytest.mark.parametrize("form", FORMATS)
def test_alignment_is_goldens(form: str, bits: int) -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    every = np.random.default_rng(3).permutation(every[np.isfinite(FORMATS[form].decode(every))])
    rows = np.concatenate([every[: len(every) // 16 * 16].reshape(-1, 16), np.repeat(every[:500, None], 16, axis=1)])
    rows[7] = 0
    x = torch.tensor(FORMATS[form].decode(rows))
    wanted = align.align_to(FORMATS[form], rows, bits)
    for given in (None, wanted.exponent + np.arange(len(rows)) % 40):
        wanted = align.align_to(FORMATS[form], rows, bits, given)
        mantissa, exponent = torch_align.align_to(form, x, bits, None if given is None else torch.tensor(given))
        assert (mantissa.numpy() == wanted.mantissa).all()
        assert (exponent.numpy() == wanted.exponent).all()


def test_runs_of_rising_levels_by_hand() -> None:
    level = torch.tensor([[3, 3, 5, 5, 6], [2, 2, 2, 2, 2]])
    last, rise = torch_align.raises(level)
    assert (last.tolist(), rise.tolist()) == ([[1, 3, 4], [4, 4, 4]], [[0, 2, 1], [0, 0, 0]])
    x = torch.tensor([[-3, 4, 6, -11, 1], [1, 2, 3, 4, 5]])[..., None]
    assert torch_align.accumulate(x, level).tolist() == [[-2], [15]]  # (((-3 + 4 >> 2) + 6 - 11) >> 1) + 1


@pytest.mark.parametrize("name", PRESETS)
def test_statistics_are_goldens(name: str) -> None:
    config = preset(name)
    heads = [words(config, 600, 1), words(config, 600, 2, (3, 3)), np.sort(words(config, 600, 4), axis=0)]
    found = torch_prepare.statistics(config, torch.stack([values(config, rows) for rows in heads]))
    for i, rows in enumerate(heads):
        wanted = statistics(config, rows)
        assert found.exponent[i] == wanted.exponent
        assert (found.mean[i].numpy() == wanted.mean).all()
        assert found.reach[i] == wanted.reach


@pytest.mark.parametrize("size", [16, 48, 128])
def test_rotation_is_goldens(size: int) -> None:
    config = dataclasses.replace(preset("asic"), head_dim=size)
    x = np.random.default_rng(5).integers(-(1 << 16), 1 << 16, (3, 20, size))
    assert (torch_prepare.rotate(config, torch.tensor(x)).numpy() == rotate.rotate(config, x)).all()


@pytest.mark.parametrize("name", PRESETS)
def test_outputs_are_restored_as_golden_restores_them(name: str) -> None:
    config = preset(name)
    rng = np.random.default_rng(6)
    output = FP16.encode(rng.standard_normal((400, config.head_dim)) * np.exp2(rng.uniform(-20, 8, (400, 1))))
    output[3], output[5, 2] = 0, FP16.nan
    raw = statistics(config, words(config, 50, 7))
    mean, reach = torch.tensor(raw.mean)[None], torch.tensor([raw.reach])
    for exponent in range(1, FORMATS[config.float_format].exponent_max, 7):
        stats = Statistics(exponent, raw.total, raw.mean, raw.reach)
        power = exponent - FORMATS[config.float_format].bias
        if abs(power) > 15:  # beyond FP16
            continue
        made = torch_prepare.Statistics(torch.tensor([exponent]), mean, reach)
        fields = {f.name: None for f in dataclasses.fields(torch_prepare.Prepared)}
        fields |= {"config": config, "head_dim": config.head_dim, "value_statistics": made}
        found = torch_prepare.Prepared(**fields).restore(torch.tensor(FP16.decode(output))[None])[0].numpy()
        wanted = FP16.decode(restore.restore_rows(config, output, stats))
        assert np.array_equal(found, wanted, equal_nan=True)


@pytest.mark.parametrize("name", PRESETS)
def test_scales_and_scaled_numbers_are_goldens(name: str) -> None:
    config = preset(name)
    rng = np.random.default_rng(8)
    vectors = (rng.integers(-(1 << 17), 1 << 17, (500, 16)) >> rng.integers(0, 18, (500, 1))).astype(np.int64)
    largest = np.abs(vectors).max(axis=1)
    for factor, step, least in itertools.product((quantise.ONE, 47104), (2, 3, 4), (-40, -25, -3)):
        wanted = quantise.scales(config, largest, factor, step, least)
        limit = torch.full((1, 1), least)
        found = torch_quantise.scales(config, torch.tensor(largest)[None], factor, step, limit)
        assert all((a[0].numpy() == b).all() for a, b in zip(found, wanted, strict=True))
        units = torch_quantise.scaled(config, torch.tensor(vectors)[None], factor, *found)[0].numpy()
        assert (units == quantise.scaled(config, vectors, factor, *wanted)).all()


@pytest.mark.parametrize("step", [2, 3, 4])
@pytest.mark.parametrize("digits", [2, 3])
def test_digits_are_goldens(step: int, digits: int) -> None:
    config = dataclasses.replace(preset("tiny"), digits=digits, value_digit_step=step, shape_keys=True)
    most = (config.code_max(step) + 2) << quantise.CODE_FRACTION_BITS
    units = np.arange(-most, most).reshape(-1, 8)
    found = torch_quantise.nearest(config, torch.tensor(units), step)
    assert (found.numpy() == quantise.nearest(config, units, step)).all()

    query = np.random.default_rng(9).standard_normal((300, 8)) @ np.random.default_rng(10).standard_normal((8, 8))
    query[4, 2] = np.nan
    matrix = quantise.feedback(config, query)
    assert (torch_quantise.feedback(torch.tensor(query)[None])[0].numpy() == matrix).all()
    found = torch_quantise.shaped(config, torch.tensor(units)[None], torch.tensor(matrix)[None].double(), step)
    assert (found[:, 0].numpy() == quantise.shaped(config, units, matrix, step)).all()


def pooled(config: Config, rows: int, start: np.ndarray, seed: int) -> tuple[Any, pool.Pooled]:
    """The same sums of rows of unlike exponents, in PyTorch and as golden has them."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-5000, 5000, (rows, config.head_dim)) >> rng.integers(0, 14, (rows, 1))
    exponent = rng.integers(-3, 4, rows)
    found = torch_estimate.pool(config, torch.tensor(vectors), torch.tensor(exponent), start)
    return found, pool.pool(config, vectors, exponent, start)


@pytest.mark.parametrize("name", PRESETS)
def test_pools_and_ranks_are_goldens(name: str) -> None:
    config = preset(name)
    rng = np.random.default_rng(11)
    start = np.append(np.arange(0, 300, 8), [302, 303])
    keys = np.append(np.arange(0, 500, 8), 505)
    query, golden_query = pooled(config, 303, start, 12)
    key, golden_key = pooled(config, 505, keys, 13)
    for found, wanted in ((query, golden_query), (key, golden_key)):
        for field in ("mantissa", "exponent", "size"):
            assert (getattr(found, field).numpy() == getattr(wanted, field)).all()
    parts = np.array([0, 1, 5, 40, len(keys) - 1])
    inside = rng.random((len(start) - 1, len(keys) - 1)) < rng.choice([0, 0.1, 1], (len(start) - 1, 1))
    inside[3] = False
    for power in (-30, -24, -20, -16, -8):
        for look in (None, inside):
            wanted = estimate.estimate(config, golden_query, golden_key, (47104, power), parts[:-1], look)
            tensor = None if look is None else torch.tensor(look)
            found = torch_estimate.estimate(config, query, key, (47104, torch.tensor(power)), parts, tensor)
            assert (found.numpy() == wanted.rank).all()
            assert (torch_estimate.score(config, query, key, (47104, power)).numpy() == wanted.score).all()


@pytest.mark.parametrize("name", ["tiny", "amd"])
def test_matching_is_goldens(name: str) -> None:
    rng = np.random.default_rng(14)
    still = words(preset(name), 300, 15, (-18, 8))
    x = FORMATS[preset(name).float_format].decode(still)
    moved = FORMATS[preset(name).float_format].encode(x * (1 + 0.3 * rng.standard_normal(x.shape)))
    moved[:20] = still[:20]
    moved[25, 3], still[27, 1] = FORMATS[preset(name).float_format].nan, FORMATS[preset(name).float_format].nan
    for distance in (0.01, 0.3, 2.0):
        config = dataclasses.replace(preset(name), reuse_distance=distance)
        _, wanted = match.compare(config, moved, still)
        query = values(config, np.concatenate([still, moved]))[None]
        found = torch_speculate.match(config, query, (2, 20, 15), 0)[0].numpy()
        assert (found[:300] == np.arange(300)).all()
        assert (found[300:] == np.where(wanted, np.arange(300), np.arange(300, 600))).all()
