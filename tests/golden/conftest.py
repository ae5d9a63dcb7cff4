"""Shared by the tests of the golden model: configurations, random heads and one way to run the core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from golden.attention import attention
from golden.config import Config
from golden.prepare import Prepared
from golden.presets import preset
from golden.schedule import schedule
from golden.traces import Head

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("repeatable")

SAMPLE = Path(__file__).parents[2] / "sample" / "street.npz"


@pytest.fixture
def tiny() -> Config:
    """The smallest preset: three digits, several lane groups a tile."""
    return preset("tiny")


@pytest.fixture
def sample_path() -> Path:
    """The sample in the repository."""
    return SAMPLE


@pytest.fixture
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


@pytest.fixture
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
