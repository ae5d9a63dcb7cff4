"""Generated Verilog: the same bytes again, clean under lint, whole or absent."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from golden.config import Config
from golden.presets import PRESETS, preset
from rtl.components import COMPONENTS
from rtl.emit import LINE_LENGTH, to_rtlil, to_verilog, write
from scripts.lint import lint_verilog, lint_whole, waivers

TINY = preset("tiny")


def test_the_same_configuration_gives_the_same_bytes_under_another_hash_seed(tmp_path: Path) -> None:
    manifest = write(TINY, "tiny", tmp_path / "here")
    code = (
        "import pathlib, sys; from golden.presets import preset; from rtl.emit import write;"
        "write(preset('tiny'), 'tiny', pathlib.Path(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4242"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "there"], env=environment, check=True)
    assert set(manifest["files"]) == {*(f"{name}.v" for name in COMPONENTS), "config.json"}
    for file in [*manifest["files"], "manifest.json"]:
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()


@pytest.mark.parametrize("name", PRESETS)
def test_the_sequencer_of_every_preset_is_the_same_twice(name: str) -> None:
    first, second = (to_rtlil(COMPONENTS["sequencer"](PRESETS[name]), "sequencer") for _ in range(2))
    assert first == second


def test_the_configuration_beside_the_verilog_is_the_one_it_was_made_of(tmp_path: Path) -> None:
    write(TINY, "tiny", tmp_path, ["align"])
    assert Config.from_json((tmp_path / "config.json").read_text()) == TINY
    head = (tmp_path / "align.v").read_text().splitlines()[:4]
    assert TINY.hash in head[1]
    assert "tiny" in head[1]
    assert json.loads((tmp_path / "manifest.json").read_text())["config_hash"] == TINY.hash


def test_files_of_an_earlier_run_go(tmp_path: Path) -> None:
    write(TINY, "tiny", tmp_path, ["align", "sequencer"])
    write(TINY, "tiny", tmp_path, ["align"])
    assert {path.name for path in tmp_path.iterdir()} == {"align.v", "config.json", "manifest.json"}


def test_an_unknown_component_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"component 'alu': must be one of .*align"):
        write(TINY, "tiny", tmp_path / "out", ["align", "alu"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_is_clean_under_lint(name: str) -> None:
    assert lint_verilog(to_verilog(COMPONENTS[name](TINY), name), name) == []


@pytest.mark.parametrize(
    "changes", [{"table": "pairs", "float_format": "bf16"}, {"table": "full", "banks": 3}], ids=str
)
def test_variants_of_the_core_are_clean_under_lint(changes: dict) -> None:
    config = dataclasses.replace(TINY, **changes)
    assert lint_verilog(to_verilog(COMPONENTS["core"](config), "core"), "core") == []


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("input a, input b, output reg q); always @* if (a) q = b;", "LATCH"),
        ("input [3:0] a, input b, output [1:0] q); assign q = a;", "WIDTHTRUNC"),
        ("input a, input b, output q); wire c; assign q = c & a & b;", "UNDRIVEN"),
    ],
)
def test_lint_finds_what_is_broken(body: str, rule: str) -> None:
    assert any(rule in line for line in lint_verilog(f"module top({body} endmodule", "top"))


PARTS = """
module inner(a, q);
  input [3:0] a;
  wire [3:0] a;
  output [{width}:0] q;
  wire [{width}:0] q;
  assign q = a;
endmodule

module outer(a, q);
  input [3:0] a;
  wire [3:0] a;
  output [3:0] q;
  wire [3:0] q;
  inner one (
    .a(a),
    .q(q{pin})
  );
endmodule

module top(a, q, r);
  input [3:0] a;
  wire [3:0] a;
  output [3:0] q;
  wire [3:0] q;
  output [3:0] r;
  wire [3:0] r;
  outer left (
    .a(a),
    .q(q)
  );
  outer right (
    .a(a),
    .q(r)
  );
endmodule
"""


def test_no_loop_goes_through_several_modules() -> None:
    """They are the same for every preset."""
    assert lint_whole(to_verilog(COMPONENTS["simpicker"](TINY), "simpicker"), "simpicker") == []


LOOP = """
module inner(a, b, q);
  input a, b;
  output q;
  assign q = a & b;
endmodule

module top(a, q);
  input a;
  output q;
  wire r;
  inner left (
    .a(a), .b(r), .q(q)
  );
  inner right (
    .a(a), .b(q), .q(r)
  );
endmodule
"""


def test_a_loop_through_modules_is_found() -> None:
    assert any("UNOPTFLAT" in line for line in lint_whole(LOOP, "top"))


LINT_FINDS = {
    "nothing": (3, "", []),
    "a_body": (2, "[2:0]", ["top.v:7:12: Operator ASSIGNW expects 3 bits", "top.v:13:16: Bits of signal are not"]),
    "an_instance": (4, "", ["top.v:17:6: Output port connection 'q' expects 5 bits"]),
}


@pytest.mark.parametrize("case", LINT_FINDS)
def test_bodies_and_instances_are_linted_once(case: str) -> None:
    """Below the top, which has the broken one twice; Verilator ends with the number of its warnings."""
    width, pin, wanted = LINT_FINDS[case]
    said = lint_verilog(PARTS.format(width=width, pin=pin), "top")
    assert len(said) == (len(wanted) + 1 if wanted else 0)
    assert all(part in line for line, part in zip(said, wanted, strict=False))


def test_every_waiver_has_a_reason() -> None:
    assert 0 < len(waivers()) <= 8
    assert all(len(waiver["reason"]) > 20 for waiver in waivers())


def test_lines_are_broken_behind_commas() -> None:
    text = to_verilog(COMPONENTS["core"](TINY), "core")
    assert all(len(line) <= LINE_LENGTH or ", " not in line for line in text.splitlines())


def test_module_names_are_stable_and_readable() -> None:
    text = to_verilog(COMPONENTS["core"](TINY), "core")
    for module in ("align", "key_multiplier", "softmax", "value_buffer", "normalise"):
        assert f"\nmodule {module}(" in text
    assert "$" not in "".join(line for line in text.splitlines() if line.startswith("module "))


def test_memories_are_cleared_in_a_loop_and_tables_are_not() -> None:
    text = to_verilog(COMPONENTS["estimate"](TINY), "estimate")
    words = 1 + int(re.findall(r"reg \[\d+:0\] maxima \[(\d+):0\];", text)[0])
    assert f"for (n = 0; n < {words}; n = n + 1) maxima[n] = " in text
    assert "maxima[0] = " not in text
    assert "logarithms[1] = " in text, "words that differ stay as they are"


def test_signs_are_extended_by_replication() -> None:
    text = to_verilog(COMPONENTS["pool"](TINY), "pool")
    assert re.search(r"{ {\d+{\w+(\[\d+\])?}}, ", text)
    assert not re.search(r"[{,]\s(\S+),\s+\1,\s+\1[\s,]", text)
