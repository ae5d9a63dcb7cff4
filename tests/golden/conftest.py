"""Shared by the tests of the golden model: configurations, random heads and one way to run the core."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from golden.attention import attention
from golden.config import FLOAT_FORMATS, Config
from golden.prepare import Prepared
from golden.presets import preset
from golden.schedule import schedule
from golden.traces import Head

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("repeatable")

SAMPLE = Path(__file__).parents[2] / "sample" / "street.npz"


@pytest.fixture(scope="session")
def tiny() -> Config:
    """The smallest preset: three digits, several lane groups a tile."""
    return preset("tiny")


@pytest.fixture
def sample_path() -> Path:
    """The sample in the repository."""
    return SAMPLE


@pytest.fixture(scope="session")
def make_head() -> Callable[..., Head]:
    """Random heads; queries and keys of deviation `scale`, so that scale 0 gives equal scores."""

    def make(
        grid: tuple[int, int, int] = (2, 4, 8),
        text_tokens: int = 0,
        head_dim: int = 16,
        seed: int = 0,
        scale: float = 1.0,
    ) -> Head:
        rng = np.random.default_rng(seed)
        shape = (int(np.prod(grid)) + text_tokens, head_dim)
        q, k, v = (rng.standard_normal(shape).astype(np.float32) for _ in range(3))
        return Head(f"random{seed}", q * np.float32(scale), k * np.float32(scale), v, grid, text_tokens)

    return make


@pytest.fixture(scope="session")
def run_core() -> Callable[..., NDArray[np.uint16]]:
    """Attention of a prepared head with every block at one tier, or with tiers [query_tiles, key_tiles or tokens]."""

    def run(
        config: Config, prepared: Prepared, tiers: int | NDArray[np.int8], mask: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint16]:
        rows, columns = prepared.query_tiles, prepared.key_tiles
        if isinstance(tiers, int):
            tiers = np.full((len(rows.frame), len(columns.frame)), tiers, np.int8)
        return attention(config, prepared.operands, schedule(config, rows.start, columns.start, tiers, mask))

    return run


CONTENTS = ("normal", "constant", "zero", "duplicates", "slow", "huge", "small", "invalid")
"""What hypothesis puts into a head: see `fill`."""


def fill(content: str, shape: tuple[int, int], seed: int, frame_tokens: int) -> list[NDArray[np.float32]]:
    """q, k and v of a head; "slow" frames follow each other with little change, "invalid" has rows that are NaN."""
    rng = np.random.default_rng(seed)
    q, k, v = rng.standard_normal((3, *shape)).astype(np.float32)
    if content == "constant":
        q[:], k[:], v[:] = 1.5, -2.5, 3.25
    elif content == "zero":
        q[:], k[:], v[:] = 0, 0, 0
    elif content == "duplicates":
        k[:] = k[rng.integers(0, min(3, len(k)), len(k))]
    elif content == "slow":
        place = np.arange(len(q)) % max(1, frame_tokens)
        q = q[place] + np.float32(0.1) * q * rng.random((len(q), 1)).astype(np.float32)
    elif content == "huge":
        q *= np.float32(1000)
        k *= np.float32(30)
        v *= np.float32(1000)
    elif content == "small":
        q *= np.float32(2.0**-18)
        k *= np.float32(2.0**-60)
        v *= np.float32(2.0**-20)
    elif content == "invalid":
        q[rng.random(len(q)) < 0.3, 1] = np.nan
        q[rng.random(len(q)) < 0.1, 0] = -np.inf
    return [q, k, v]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Config, Head]:
    """A small configuration and a head: single tokens, odd sizes, many frames, text, partial tiles, extreme values."""
    tile = draw(st.sampled_from([8, 12, 16]))
    piece = draw(st.sampled_from([n for n in range(2, tile + 1) if tile % n == 0]))
    cell = draw(st.sampled_from([n for n in range(1, piece + 1) if piece % n == 0]))
    top_share = draw(st.sampled_from([0.0, 0.05, 0.125, 0.5, 1.0]))
    config = dataclasses.replace(
        preset("tiny"),
        tile=tile,
        query_rows=cell * draw(st.integers(-(-4 // cell), 16 // cell)),
        piece=piece,
        cell=cell,
        float_format=draw(st.sampled_from(FLOAT_FORMATS)),
        input_bits=draw(st.integers(12, 20)),
        digits=draw(st.integers(2, 3)),
        rotate=draw(st.booleans()),
        pool_bits=draw(st.integers(6, 14)),
        estimate_fraction_bits=draw(st.integers(3, 8)),
        match_bits=draw(st.integers(6, 16)),
        frame_mass=draw(st.sampled_from([0.3, 0.9, 0.99, 1.0])),
        top_share=top_share,
        full_share=top_share * draw(st.sampled_from([0.0, 0.3, 1.0])),
        reuse_distance=draw(st.sampled_from([0.0, 0.1, 0.3, 1.5])),
        group_window=draw(st.integers(1, 5)),
        cores=draw(st.integers(1, 5)),
    )
    grid = draw(
        st.sampled_from([(1, 1, 1), (9, 1, 1), (12, 2, 2), (0, 0, 0)])
        | st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
    )
    text = draw(st.integers(0 if np.prod(grid) else 1, 20))
    shape = int(np.prod(grid)) + text, draw(st.sampled_from([8, 16]))
    q, k, v = fill(draw(st.sampled_from(CONTENTS)), shape, draw(st.integers(0, 99)), grid[1] * grid[2])
    return config, Head("drawn", q, k, v, grid, text)


@pytest.fixture(scope="session")
def any_case() -> st.SearchStrategy[tuple[Config, Head]]:
    """To be drawn from: a configuration and a head."""
    return cases()
