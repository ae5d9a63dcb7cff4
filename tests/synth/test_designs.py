"""The comparison of designs: what is counted has computed golden's results, and the counting is right."""

from __future__ import annotations

import copy
import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from golden.config import DIGIT_MAX, DIGIT_MIN
from golden.multiplier import multiply
from golden.prepare import Prepared, prepare
from golden.presets import preset
from golden.traces import load
from rtl.emit import to_rtlil
from rtl.ram_reader import Multiples, RamReader
from scripts import design_costs
from scripts.cell_library import Library
from scripts.cells import rtlil_to_gates
from scripts.demo import SAMPLE, fitting
from scripts.design_costs import Target, cost
from scripts.design_energy import PartEnergies, Run, pack, product_energy, signed
from scripts.designs import DOT, READERS, designs, dot_bits, floating, tabled
from scripts.style_report import draw
from scripts.styles import compare, gates, width_error
from sim.gates import GENERIC, evaluate

CONFIG = preset("asic")


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(CONFIG, fitting(CONFIG, load(SAMPLE)[0]))


@pytest.mark.parametrize(("style", "code_bits", "lifetime"), [("pairs", 4, 4), ("signed", 8, 1), ("booth", 8, 16)])
def test_integer_designs_compute_what_golden_does(
    prepared: Prepared, style: str, code_bits: int, lifetime: int
) -> None:
    design = tabled(CONFIG, style, code_bits, 9)
    netlists = gates(design)
    Run(CONFIG, design, prepared, lifetime).inputs(netlists)
    broken = copy.deepcopy(netlists["reader"][0])
    victim = next(cell for cell in broken["cells"].values() if cell["type"] == "$_XOR_")
    victim["type"] = "$_XNOR_"
    with pytest.raises(ValueError, match=f"{style}: dot product .* golden"):
        Run(CONFIG, design, prepared, lifetime).inputs({**netlists, "reader": (broken, GENERIC)})


def test_a_multiply_add_computes_what_golden_does(prepared: Prepared) -> None:
    design = floating("fp16_mac")
    Run(CONFIG, design, prepared, 4).inputs(gates(design))


def test_lut_ram_holds_all_multiples() -> None:
    operands, bits, rng = 4, 9, np.random.default_rng(1)
    most = (1 << (bits - 1)) - 1
    vector = rng.integers(-most, most + 1, operands)
    steps = DIGIT_MAX - DIGIT_MIN + 1
    filler = rtlil_to_gates(to_rtlil(Multiples(operands, bits), "filler"), "filler")
    take = [1] + [0] * steps
    packed = pack(vector[None], bits)[0]
    filled = evaluate(filler, GENERIC, {"take": take, "operands": [packed] * len(take), "rst": [0] * len(take)})
    codes = rng.integers(DIGIT_MIN, DIGIT_MAX + 1, (100, operands))
    reader = rtlil_to_gates(to_rtlil(RamReader(operands, bits, dot_bits(bits, 4)), "reader"), "reader")
    fill, idle = len(take), [0] * len(codes)
    inputs = {
        "half": [1] * fill + idle,  # table 0 is filled while table 1 is read
        "write": [0] + [1] * steps + idle,
        "digit": filled["digit"] + idle,
        "multiples": filled["multiples"] + idle,
        "codes": [0] * fill + pack(codes, 4),
        "rst": [0] * (fill + len(codes)),
    }
    dot = signed(evaluate(reader, GENERIC, inputs)["dot"], dot_bits(bits, 4))
    assert dot[fill + 1 :] == multiply(vector, codes.astype(np.int8))[:-1].tolist()


def test_every_style_is_there_with_both_code_widths() -> None:
    found = {(design.style, design.code_bits) for design in designs(CONFIG, ram=True)}
    assert len(found) == len(designs(CONFIG, ram=True)) == 24


def test_costs_are_kept_and_energy_is_shared(
    prepared: Prepared, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(design_costs, "MAPPED", tmp_path)
    target = Target("mini", library=library, quick=True)
    design = tabled(CONFIG, "booth", 4, 9)
    found = {part.name: cost(part, target) for part in design.parts}
    assert all(one.area > 0 and one.delay > 0 for one in found.values())
    kept = len(list(tmp_path.iterdir()))
    assert kept == len(design.parts)
    assert {part.name: cost(part, target) for part in design.parts} == found
    assert len(list(tmp_path.iterdir())) == kept
    mapped = {name: (one.netlist or {}, library.gates) for name, one in found.items()}
    known: PartEnergies = {}
    few, many = (product_energy(Run(CONFIG, design, prepared, 4), mapped, library, n, known) for n in (1, 16))
    assert len(known) == len(design.parts)
    assert many == product_energy(Run(CONFIG, design, prepared, 4), mapped, library, 16, {})
    assert 0 < many.settled < few.settled < few.total


def test_ratios_are_of_equal_rows(tmp_path: Path) -> None:
    rows = [
        {
            "style": style,
            "target": "t",
            "readers": readers,
            "code_bits": bits,
            "area_per_product": area,
            "energy_per_product": None,
            "energy_without_glitches": None,
        }
        for style, bits, area in (
            ("multiply", 4, 400.0),
            ("booth", 4, 200.0),
            ("pairs", 4, 100.0),
            ("fp16_mac", 16, 1e3),
        )
        for readers in READERS
    ]
    for row in rows:
        compare(row, rows)
    pairs = next(row for row in rows if row["style"] == "pairs")
    assert [pairs[f"ratio_to_{name}"] for name in ("multiplier", "booth", "fp16_mac")] == [0.25, 0.5, 0.1]
    draw(rows, tmp_path / "styles.png")
    assert (tmp_path / "styles.png").stat().st_size > 10_000


def test_wider_operands_err_less() -> None:
    head = load(SAMPLE)[0]
    small = dataclasses.replace(head, q=head.q[:128], k=head.k[:128], v=head.v[:128], grid=(2, 8, 8))
    errors = [width_error(CONFIG, small, width) for width in (9, 12, 15)]
    for narrow, wide in pairwise(errors):
        assert wide[0] < narrow[0] / 4
        assert wide[1] < narrow[1] / 2
    assert CONFIG.head_dim == DOT
