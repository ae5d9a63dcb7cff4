"""`make speedup`: cycles, areas and factors against counts by hand, and the whole command on the sample."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.config import Config
from golden.head_cycles import head_cycles
from golden.layer import plan
from golden.presets import preset
from golden.traces import Head
from rtl.components import COMPONENTS
from rtl.emit import to_rtlil
from rtl.files import write_text
from scripts import core_areas
from scripts.cell_library import Library
from scripts.core_areas import DENSE, GROUPING, SPECULATION, dense_bits, key, measured, stage_areas
from scripts.designs import DOT
from scripts.evaluate import CORES, REUSE_DISTANCE
from scripts.liberty import read
from scripts.module_areas import Area
from scripts.speedup import PARTS, all_areas, evaluated, summary
from scripts.stages import FACTORS, STAGES, factors, geometric_mean, layer_cycles
from sim.workload import random_head

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "tests" / "synth" / "mini.lib"
TINY = preset("tiny")
CHEAP = dataclasses.replace(TINY, top_share=0.0, full_share=0.0)
"""Everything in LUT4."""
MODULES = {
    "simpicker": Area(5000.0, 4000),
    "worker": Area(3700.0, 3200),
    "core": Area(3000.0, 2000),
    "prepare": Area(1000.0, 0),
    "prepare_query": Area(150.0, 0),
    "restore": Area(200.0, 0),
    "speculate": Area(400.0, 1000),
    "tier_buffer": Area(50.0, 100),
    "key_pool": Area(25.0, 0),
    "group": Area(200.0, 0),
    "query_buffer": Area(10.0, 500),
    "sequencer": Area(20.0, 0),
    "softmax": Area(30.0, 0),
    "normalise": Area(40.0, 0),
    "fp16_mac.reader": Area(90.0, 0),
    "fp16_mac.tables": Area(2.0 * DOT, 0),
    "fp16_mac.waiting": Area(4.0 * DOT, 0),
    "fp16_fused.reader": Area(50.0 * DOT, 0),
    "fp16_fused.tables": Area(2.0 * DOT, 0),
    "fp16_fused.waiting": Area(4.0 * DOT, 0),
}
"""Of a core that nobody measured."""
REUSING = MODULES | {"simpicker": Area(5060.0, 4010), "reuse": Area(50.0, 8), "compact": Area(10.0, 2)}
"""Of the same core with rows reused."""
BIT = 0.7
"""um^2 of a bit in the library of tests: a tenth of its flip-flop."""
MATCHING = 60 + 10 * BIT
"""um^2 that are there only where rows are reused."""


@pytest.fixture(scope="module")
def library() -> Library:
    return read(LIBRARY)


@pytest.fixture(scope="module")
def heads() -> list[Head]:
    return [random_head(TINY, (3, 8, 8), seed=seed, scale=scale) for seed, scale in enumerate((0.5, 2.0))]


def reusing(config: Config) -> Config:
    return dataclasses.replace(config, reuse_distance=1.3)


@pytest.mark.parametrize("config", [TINY, CHEAP, reusing(TINY)], ids=["default", "LUT4", "reusing"])
def test_factors_multiply_to_the_whole(config: Config, heads: list[Head], library: Library) -> None:
    areas = all_areas(config, library, MODULES, REUSING if config.reuse_distance else MODULES)
    found = evaluated([layer_cycles(config, heads)], areas)
    total = {view: found["summary"][view]["total"] for view in ("same_lanes", *areas)}
    for each in [*found["heads"], found["layers"][0], found["layers"][0] | total]:
        cycles = each["cycles"]["dense"] / each["cycles"]["losses"]
        several = each["cycles"]["dense"] / each["together"]
        assert math.prod(each["same_lanes"]["factors"].values()) == pytest.approx(cycles, rel=1e-12)
        for baseline, area in areas.items():
            whole = (several if baseline == "cores" else cycles) * area["dense"] / area["losses"]
            assert each[baseline]["speedup"] == pytest.approx(whole, rel=1e-12)
            assert math.prod(each[baseline]["factors"].values()) == pytest.approx(whole, rel=1e-12)


def test_all_in_lut4_takes_a_pass_for_each_product(heads: list[Head]) -> None:
    pairs = 192 * 192
    for head in layer_cycles(CHEAP, heads).heads:
        cycles = head["cycles"]
        assert head["passes_per_product"] == 1
        assert cycles["tables"] == CHEAP.digits * pairs // CHEAP.lanes
        assert cycles["tiers"] == cycles["reuse"] == cycles["grouping"] == pairs // CHEAP.lanes
        assert 0 < cycles["dense"] - pairs // CHEAP.lanes < 100  # fill and drain
        worth = factors(cycles)
        assert worth["tables"] * worth["tiers"] == pytest.approx(cycles["dense"] * CHEAP.lanes / pairs)
        assert worth["tiers"] == CHEAP.digits
        assert worth["reuse"] == worth["grouping"] == 1
        assert worth["losses"] < 1


def test_loading_limits_the_dense_core_too() -> None:
    """Nine tokens: query tiles of 8 and of 1 rows meet a key tile of 9, which is 3 lane groups and 9 cycles to load."""
    (head,) = layer_cycles(CHEAP, [random_head(CHEAP, (1, 3, 3))]).heads
    assert head["cycles"]["tiers"] == 8 * 3 + 9
    assert head["cycles"]["tables"] == 8 * 9 + 9
    assert head["cycles"]["dense"] >= 8 * 3 + 9


def test_rows_that_stand_still_are_computed_once(heads: list[Head]) -> None:
    still = dataclasses.replace(heads[0], q=np.tile(heads[0].q[:64], (3, 1)))
    (head,) = layer_cycles(dataclasses.replace(CHEAP, reuse_distance=0.1), [still]).heads
    assert head["products_removed"] == pytest.approx(2 / 3)
    assert factors(head["cycles"])["reuse"] == 3


def test_rows_left_over_are_joined_by_grouping(heads: list[Head]) -> None:
    """Two rows of every query tile change: alone they wait for key tiles to be loaded, joined by pairs they do not."""
    config = dataclasses.replace(CHEAP, reuse_distance=0.1)
    order, places = plan(config, heads[:1])[0].prepared.query_tiles.order, np.arange(192)
    q = np.tile(heads[0].q[:64], (3, 1))
    changed = order[(places >= 64) & (places % config.query_rows < 2)]
    q[changed] = heads[0].q[changed]
    (head,) = layer_cycles(config, [dataclasses.replace(heads[0], q=q)]).heads
    first, tiles, keys = 64 * 192 // config.lanes, 128 // config.query_rows, 192 // config.tile
    assert head["cycles"]["reuse"] == first + tiles * keys * config.tile
    assert head["cycles"]["grouping"] == first + tiles // 2 * keys * config.tile


def test_a_layer_is_its_heads_with_what_they_hide(heads: list[Head]) -> None:
    one = dataclasses.replace(TINY, cores=1)
    found = layer_cycles(TINY, heads)
    for stage in STAGES[:-1]:
        assert found.cycles[stage] == sum(head["cycles"][stage] for head in found.heads)
    assert found.cycles["losses"] == head_cycles(one, plan(one, heads)).total
    assert found.cycles["losses"] < sum(head["cycles"]["losses"] for head in found.heads)
    assert found.together == CORES * head_cycles(dataclasses.replace(TINY, cores=CORES), plan(one, heads)).total
    assert found.together > found.cycles["losses"]  # cores that wait for the last one count


def test_areas_of_stages_by_hand(library: Library) -> None:
    found = stage_areas(TINY, library, MODULES, MODULES, "fp16_mac")
    whole, worker = 5000 + 4000 * BIT, 3700 + 3200 * BIT
    assert found["losses"] == found["grouping"] == pytest.approx(whole)
    assert found["tiers"] == found["reuse"] == pytest.approx(whole - 200)
    assert found["tables"] == pytest.approx(whole - 200 - (400 + 50 + 2 * 25) - 1100 * BIT)
    # 4 readers share the operands of q . k, 16 those of p . v; the rest is memory and what both cores have.
    multipliers = 4 * 16 * ((90 + 6 / 4) + (90 + 6 / 16))
    bits = 16 * (2 * 8 + 2 * 3 * 16) * 16 + 8 * 16 * 32
    assert dense_bits(TINY) == bits
    assert found["dense"] == pytest.approx(multipliers + 10 + 20 + 30 + 40 + bits * BIT)
    alone = all_areas(TINY, library, MODULES, MODULES)["core"]
    assert alone["dense"] == found["dense"]
    assert alone["tables"] == alone["losses"] == pytest.approx(3000 + 2000 * BIT)
    several = all_areas(TINY, library, MODULES, MODULES)["cores"]
    assert several["dense"] == found["dense"]
    assert several["tables"] == several["losses"] == pytest.approx((whole + (CORES - 1) * worker) / CORES)
    fused = stage_areas(TINY, library, MODULES, MODULES, "fp16_fused")["dense"]
    assert found["dense"] - fused == pytest.approx(2 * 4 * 16 * (90 - 50))


def test_matching_counts_where_it_is(library: Library) -> None:
    plain, reused = (stage_areas(TINY, library, MODULES, each, "fp16_mac") for each in (MODULES, REUSING))
    assert reused["losses"] - plain["losses"] == pytest.approx(MATCHING)
    assert reused["reuse"] - reused["tiers"] == pytest.approx(MATCHING)
    assert reused["tiers"] == pytest.approx(plain["tiers"])
    assert plain["reuse"] == plain["tiers"]


def test_parts_are_those_of_the_hardware() -> None:
    text = to_rtlil(COMPONENTS["simpicker"](reusing(TINY)), "simpicker")
    parts = {*PARTS, *SPECULATION, *GROUPING, *DENSE}
    assert all(f"module \\{part}\n" in text for part in parts), parts
    assert text.count("cell \\key_pool ") == SPECULATION.count("key_pool")


def test_means_of_factors_multiply_to_the_mean() -> None:
    one: dict[str, float] = dict.fromkeys(FACTORS, 1.0)
    first, second = one | {"tiers": 4.0}, one | {"losses": 0.25}
    mean = geometric_mean([first, second])
    assert mean == pytest.approx(one | {"tiers": 2.0, "losses": 0.5})
    heads = [
        {"head": name, "same_lanes": {"speedup": math.prod(f.values()), "factors": f}}
        for name, f in (("a", first), ("b", second))
    ]
    found = summary("same_lanes", heads, {"speedup": 3.0})
    assert found["mean"]["speedup"] == pytest.approx(math.sqrt(4.0 * 0.25))
    assert (found["worst"]["head"], found["worst"]["speedup"], found["total"]["speedup"]) == ("b", 0.25, 3.0)


def test_areas_are_measured_once(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []

    def areas(rtlil: str, top: str, library: Library) -> dict[str, Area]:
        asked.append(top)
        return {top: Area(len(asked), 0)}

    monkeypatch.setattr(core_areas, "module_areas", areas)
    first = measured("tiny", TINY, library, lambda what: None)
    assert asked[:2] == ["simpicker", "part"]
    assert {"simpicker", "fp16_mac.reader", "fp16_fused.waiting"} <= set(first["modules"])
    calls = len(asked)
    again = measured("tiny", TINY, library, lambda what: None)
    assert len(asked) == calls
    assert again["modules"]["simpicker"] == list(first["modules"]["simpicker"])
    measured("tiny", dataclasses.replace(TINY, digits=2), library, lambda what: None)
    assert len(asked) == 2 * calls


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.speedup", "--liberty", str(LIBRARY), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_sample_with_areas_that_are_known(library: Library, tmp_path: Path) -> None:
    config = preset("asic")
    files = set()
    for each, modules in ((config, MODULES), (dataclasses.replace(config, reuse_distance=REUSE_DISTANCE), REUSING)):
        known = {"key": key(each, library), "library": library.name, "seconds": 1.0, "modules": modules}
        files.add(f"areas_{each.hash}.json")
        write_text(tmp_path / "build" / "asic" / f"areas_{each.hash}.json", json.dumps(known))
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads((tmp_path / "build" / "asic" / "speedup.json").read_text())
    assert results["traces"] == ["street.npz"]
    assert results["measured"]["library"] == "mini"
    assert [head["head"] for head in results["modelled"]["heads"]] == ["street.h0", "street.h1"]
    assert results["modelled"]["heads"][1]["passes_per_product"] == 1
    dense = 1024 * 1024 // config.lanes
    for part in ("modelled", "reuse"):
        for head in results[part]["heads"]:
            assert 0 < head["cycles"]["dense"] - dense < 200
            assert 0.6 < head["same_lanes"]["speedup"] < 1.4
    assert results["reuse"]["summary"]["same_lanes"]["mean"]["factors"]["reuse"] > 1.15
    assert "Measured: mini" in done.stdout
    assert "Modelled" in done.stdout
    assert {path.name for path in (tmp_path / "build" / "asic").iterdir()} == files | {
        "speedup.json",
        "speedup.png",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reuse-distance", "3"), "config.reuse_distance = 3.0: must be in 0..2"),
        (("--head", "7"), "has heads 0..1"),
        (("missing.npz",), "missing.npz: no such file"),
        (("wrong.npz",), "q, k and v must have one shape"),
        (("--preset", "tiny", "wide.npz"), "config.head_dim = 16"),
        (("--preset", "huge"), "must be one of"),
        (("--liberty", "missing.lib"), "missing.lib"),
    ],
)
def test_wrong_input_is_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    good = {name: np.ones((1, 32, 64), np.float16) for name in "qkv"}
    place = {"grid": np.array([2, 4, 4]), "text_tokens": np.array(0)}
    np.savez(tmp_path / "wide.npz", allow_pickle=False, **good, **place)
    np.savez(tmp_path / "wrong.npz", allow_pickle=False, **good | {"k": good["k"][:, 1:]}, **place)
    done = run(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "build").exists()
