"""What `make synth` finds, and what it must find everywhere: no latch, no multiplier, RAM where RAM is meant."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import memory
from amaranth.lib.wiring import Component, In, Out

from golden.presets import preset
from rtl import layouts
from rtl.components import COMPONENTS
from rtl.emit import to_rtlil
from rtl.query_buffer import QueryBuffer
from rtl.token_buffer import Bank
from scripts import yosys
from scripts.bench_full import CORE
from scripts.yosys import TARGETS, synthesize
from sim.model import BuildFailed
from sim.tools import ToolMissing

pytest.importorskip("pyosys")

LUT_PATH = ("key_multiplier", "value_multiplier")
WITH_RAM = ("query_buffer", "key_buffer", "value_buffer", "accumulate")


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m scripts.synth` with the folder as its working directory."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.synth", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module", params=list(TARGETS))
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of the preset tiny, on every target; `components` by name."""
    folder = tmp_path_factory.mktemp(request.param)
    done = command(folder, "--preset", "tiny", "--target", request.param)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMPONENTS)
    results = folder / "build" / "tiny"
    assert (results / "synth.json").read_text() == (results / f"synth_{request.param}.json").read_text()
    document = json.loads((results / "synth.json").read_text())
    assert document["target"] == request.param
    return document | {"components": {component["name"]: component for component in document["components"]}}


def test_every_component_takes_luts(tiny: dict[str, Any]) -> None:
    assert list(tiny["components"]) == list(COMPONENTS)
    assert all(component["luts"] > 0 and component["registers"] > 0 for component in tiny["components"].values())
    assert "abc" in tiny["command"]


def test_no_latch_anywhere(tiny: dict[str, Any]) -> None:
    assert {name: component["latches"] for name, component in tiny["components"].items()} == dict.fromkeys(
        COMPONENTS, 0
    )


def test_no_multiplier_in_the_lut_path(tiny: dict[str, Any]) -> None:
    for name in LUT_PATH:
        assert tiny["components"][name]["multipliers"] == tiny["components"][name]["dsps"] == 0
    assert tiny["components"]["score"]["dsps"] > 0, "the scales are multiplied: the check would see a multiplier"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", LUT_PATH)
def test_whole_codes_take_a_dsp_for_each_product(name: str, target: str) -> None:
    config = dataclasses.replace(preset("tiny"), full_engine="multipliers")
    netlist = synthesize(to_rtlil(COMPONENTS[name](config), name), name, target)
    assert netlist.dsps == netlist.multipliers == config.lanes * config.head_dim


def test_memories_become_ram(tiny: dict[str, Any]) -> None:
    for name, component in tiny["components"].items():
        assert component["register_rams"] == 0, name
        assert component["ram_bits"] == 0 or component["lutram_bits"] or component["block_rams"], name
    assert all(tiny["components"][name]["ram_bits"] > 0 for name in WITH_RAM)


CORE_PARTS = tuple(part for part in CORE if part not in ("arbiter", "core"))  # the arbiter is in the value buffer
WORKER_PARTS = ("speculate", "tier_buffer", "group", "core", "restore")
COMPLETE_PARTS = ("prepare", "prepare_query", "work_queue", "worker")


@pytest.mark.parametrize(
    ("whole", "parts", "most"),
    [("core", CORE_PARTS, 1.15), ("worker", WORKER_PARTS, 1.3), ("simpicker", COMPLETE_PARTS, 1.2)],
    ids=["core", "worker", "all"],
)
def test_the_whole_is_the_sum_of_its_parts_and_a_little(
    tiny: dict[str, Any], whole: str, parts: tuple[str, ...], most: float
) -> None:
    components = tiny["components"]
    for figure in ("luts", "registers", "ram_bits", "dsps", "lutram_bits", "multipliers"):
        total = sum(components[part][figure] for part in parts)
        # The core has counters besides, the complete one queues, whose LUT RAM weighs most where all else is tiny.
        assert total <= components[whole][figure] <= most * total, figure


def test_instances_are_counted() -> None:
    """The score unit is four equal lanes, which without hierarchy take nearly as much."""
    config = preset("tiny")
    rtlil = to_rtlil(COMPONENTS["score"](config), "score")
    summed, flat = (synthesize(rtlil, "score", "ecp5", flatten=flatten) for flatten in (False, True))
    assert summed.multipliers == flat.multipliers == config.lanes
    assert 0.7 * summed.luts < flat.luts < 1.1 * summed.luts


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["ecp5", "asic"])
def test_banks_of_real_size_are_ram(name: str, target: str) -> None:
    """64 rows go to block RAM, 8 to LUT RAM, and never into flip-flops."""
    config = preset(name)
    rows = -(-config.tile // config.banks) * config.tile_slots
    bank = synthesize(to_rtlil(Bank(config, layouts.scales(config)), "bank"), "bank", target)
    width = config.head_dim * config.code_bits + layouts.scales(config).size
    assert bank.ram_bits == rows * width
    assert bank.register_rams == 0
    assert bank.block_rams > 0 or bank.lutram_bits >= bank.ram_bits
    # Output registers, and at most as many again where the family has to emulate reading a word while it is written.
    assert bank.registers <= 2 * width + 32


@pytest.mark.parametrize("target", TARGETS)
def test_query_rows_of_real_size_are_block_ram(target: str) -> None:
    config = preset("asic")
    buffer = synthesize(to_rtlil(QueryBuffer(config), "query_buffer"), "query_buffer", target)
    assert buffer.ram_bits == layouts.QUERY_SLOTS * config.query_rows * layouts.key_operand(config).size
    assert buffer.register_rams == buffer.lutram_bits == 0
    assert 18432 * buffer.block_rams >= buffer.ram_bits


class Product(Component):
    """What must not be in the LUT path."""

    def __init__(self) -> None:
        super().__init__({"left": In(signed(14)), "right": In(signed(14)), "output": Out(signed(28))})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.output.eq(self.left * self.right)  # pyright: ignore[reportAttributeAccessIssue]
        return m


@pytest.mark.parametrize("target", TARGETS)
def test_a_multiplier_is_seen(target: str) -> None:
    netlist = synthesize(to_rtlil(Product(), "product"), "product", target)
    assert (netlist.multipliers, netlist.dsps) == (1, 1)


class TwoWriters(Component):
    """A memory that no RAM of either family can hold: two words are written in a cycle."""

    def __init__(self) -> None:
        super().__init__({"left": In(8), "right": In(8), "output": Out(8)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.rows = rows = memory.Memory(shape=8, depth=8, init=[])
        for port, name in ((rows.write_port(), "left"), (rows.write_port(), "right")):
            m.d.comb += [port.addr.eq(getattr(self, name)), port.data.eq(getattr(self, name)), port.en.eq(1)]
        read = rows.read_port(domain="comb")
        m.d.comb += [read.addr.eq(self.left ^ self.right), self.output.eq(read.data)]  # pyright: ignore[reportAttributeAccessIssue]
        return m


LATCH = r"""
module \latch
  wire input 1 \e
  wire input 2 \d
  wire output 3 \q
  cell $dlatch $1
    parameter \WIDTH 1
    parameter \EN_POLARITY 1'1
    connect \EN \e
    connect \D \d
    connect \Q \q
  end
end
"""


@pytest.mark.parametrize("target", TARGETS)
def test_a_memory_of_flip_flops_is_seen(target: str) -> None:
    netlist = synthesize(to_rtlil(TwoWriters(), "rows"), "rows", target)
    assert (netlist.ram_bits, netlist.register_rams) == (64, 1)
    assert netlist.registers >= 64


@pytest.mark.parametrize("target", TARGETS)
def test_a_latch_is_seen(target: str) -> None:
    assert synthesize(LATCH, "latch", target).latches == 1


def test_what_yosys_refuses_is_an_error_in_one_line() -> None:
    with pytest.raises(BuildFailed, match="component 'top': Yosys failed: ERROR"):
        synthesize("nonsense", "top", "ecp5")


def test_missing_pyosys_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yosys.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match=r"pip install -e \.\[synth\]"):
        synthesize("", "top", "ecp5")


def test_unknown_target_is_wrong_input(tmp_path: Path) -> None:
    done = command(tmp_path, "--preset", "tiny", "--target", "abacus")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "abacus" in done.stderr
    assert not any(tmp_path.iterdir())
