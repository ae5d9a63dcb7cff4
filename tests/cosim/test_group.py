"""Lane packing, simulated over configurations that shape it differently."""

from __future__ import annotations

import dataclasses

import pytest

from golden.config import Config
from golden.presets import preset
from sim.simulate import simulate

TINY = preset("tiny")
CONFIGS: dict[str, Config] = {
    "tiny": TINY,
    "lanes8": dataclasses.replace(TINY, lanes=8, query_rows=8, banks=8),
    "lanes3": dataclasses.replace(TINY, tile=12, lanes=3, banks=3),  # no power of two
    "one_group": dataclasses.replace(TINY, lanes=16, query_rows=16, banks=16),
    "four_tokens": dataclasses.replace(TINY, tile=4, lanes=2, banks=2, piece=2, cell=1),  # all tiles there are
    "digits2": dataclasses.replace(TINY, digits=2),
    "deep": dataclasses.replace(TINY, tile=64, lanes=2, banks=2, piece=16),  # lanes and depth of the preset ecp5
}
SEED = 7


@pytest.mark.parametrize("name", CONFIGS)
def test_group(name: str) -> None:
    figures = simulate("group", CONFIGS[name], seed=SEED)
    assert figures["mismatches"] == 0
    assert figures["words_compared"] > 3000
