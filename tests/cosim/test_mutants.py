"""Broken designs: for every mutant of the RTL, the bench of its component finds a difference."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sim.model import BUILD
from sim.mutants import Edit, copy_design

ROOT = Path(__file__).parents[2]

RUN = """
import dataclasses, json, sys
import rtl
from golden.presets import preset
from sim.simulate import BenchFailed, simulate
component, table, engine = sys.argv[1:]
finding = None
try:
    config = dataclasses.replace(preset("tiny"), table=table, full_engine=engine, reuse_distance=0.3, cores=2)
    simulate(component, config)
except BenchFailed as failure:
    finding = str(failure)
print(json.dumps({"rtl": rtl.__file__, "finding": finding}))
"""
"""Anything but BenchFailed, such as a failing build, ends this with an error: that kills no mutant."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A broken design: in `file`, the one occurrence of `source` is replaced; the bench of `component` must notice."""

    name: str
    file: str
    source: str
    replacement: str
    component: str
    table: str = "odd"
    engine: str = "tables"


MUTANTS = (
    # Streams
    Mutant("word-lost-on-stall", "streams", "advance.eq(o.ready | ~o.valid)", "advance.eq(1)", "align"),
    Mutant("payload-not-held", "streams", "with m.If(enable):", "with m.If(1):", "softmax"),
    # Aligner
    Mutant("no-rounding", "align", "up = half if", "up = half & 0 if", "align"),
    Mutant("no-sign", "align", "shifted[1:], element[-1]", "shifted[1:], shifted[0] & 0", "align"),
    Mutant("far-not-zero", "align", "behind[len(distance) :].any()", "behind[0:0].any()", "align"),
    # Multipliers
    Mutant(
        "stale-table", "multiplier", "tables.load.eq(load)", "tables.load.eq(load & ~table_valid)", "key_multiplier"
    ),
    Mutant("codes-before-load", "multiplier", "eq(advance & table_valid)", "eq(advance)", "value_multiplier"),
    Mutant(
        "operand-overwritten",
        "multiplier",
        "operand.ready.eq(free)",
        "operand.ready.eq(1)",
        "value_multiplier",
    ),
    Mutant(
        "last-ignored",
        "multiplier",
        "free.eq(~table_valid | (codes_taken & self.codes.payload.last))",
        "free.eq(~table_valid | codes_taken)",
        "key_multiplier",
    ),
    Mutant(
        "tag-too-early",
        "multiplier",
        "delay(m, advance, table_tag,",
        "delay(m, advance, self.operand.payload.tag,",
        "key_multiplier",
    ),
    Mutant("no-carry", "table_styles", "Term(negative)]", "Term(C(0))]", "key_multiplier", "odd"),
    Mutant("sign-extended-wrongly", "adders", "sign != term.negative", "term.negative", "key_multiplier", "signed"),
    Mutant("carry-lost", "adders", "(self.a & self.b))", "C(0))", "value_multiplier", "pairs"),
    Mutant(
        "bias-not-loaded",
        "tables",
        "m.d.sync += held.eq(balanced_sum",
        "m.d.comb += held.eq(balanced_sum",
        "key_multiplier",
        "signed",
    ),
    Mutant("joint-entry", "table_styles", "return [a, b, a + b]", "return [a, b, a | b]", "value_multiplier", "pairs"),
    Mutant(
        "one-multiple-wrong",
        "table_styles",
        "*range(DIGIT_MIN, 0)]",
        "*range(DIGIT_MIN, -1), 1]",
        "value_multiplier",
        "full",
    ),
    Mutant(
        "operands-before-their-codes",
        "products",
        "delay(m, self.enable, held, 1,",
        "delay(m, self.enable, held, 0,",
        "value_multiplier",
        engine="multipliers",
    ),
    Mutant(
        "products-while-stalled",
        "products",
        "delay(m, self.enable, product, 1,",
        "delay(m, 1, product, 1,",
        "value_multiplier",
        engine="multipliers",
    ),
    Mutant(
        "sign-at-the-wrong-place",
        "digits",
        "step * n + DIGIT_BITS - 1",
        "step * n + DIGIT_BITS - 2",
        "value_multiplier",
        engine="multipliers",
    ),
    Mutant(
        "whole-too-early",
        "multiplier",
        'whole, self.latency, "whole"',
        'whole, self.latency - 1, "whole"',
        "value_multiplier",
        engine="multipliers",
    ),
    # Scores
    Mutant("digit-weight", "digits", "(config.digits - 1 - n)", "n", "score"),
    Mutant(
        "whole-weighs-as-first",
        "digits",
        "Mux(tag.whole, config.digits - 1, tag.digit)",
        "tag.digit",
        "score",
        engine="multipliers",
    ),
    Mutant("sum-not-started", "score", "Mux(self.start, 0, key_sum) + added", "key_sum + added", "score"),
    Mutant(
        "no-saturation",
        "score",
        "saturate(shifted, signed(config.score_bits))",
        "shifted[: config.score_bits].as_signed()",
        "score",
    ),
    # Softmax
    Mutant("maximum-not-reset", "softmax", "Mux(visit.first, initial, read.data)", "read.data", "softmax"),
    Mutant("inactive-lane-weighs", "softmax", "Mux(active, exp2.prob, 0)", "exp2.prob", "softmax"),
    Mutant(
        "inactive-lane-leads",
        "softmax",
        "Mux(self.i.payload.active[n], self.i.payload.score[n], least)",
        "self.i.payload.score[n]",
        "softmax",
    ),
    Mutant("rescale-off-by-one", "softmax", "rise.eq(after - before)", "rise.eq(after - before + 1)", "softmax"),
    Mutant("fine-table-ignored", "exp2", "mantissa.eq(coarse - fine)", "mantissa.eq(coarse)", "softmax"),
    # Accumulation
    Mutant("rescaled-by-every-pass", "accumulate", "Mux(begins, tag.rescale, 0)", "tag.rescale", "accumulate"),
    Mutant(
        "stale-sums",
        "accumulate",
        "Mux(visit.row == sums_row, Value.cast(sums), Value.cast(stored))",
        "Value.cast(stored)",
        "accumulate",
    ),
    Mutant("rows-leave-early", "accumulate", " & entering.visit.final", "", "accumulate"),
    # Normalisation
    Mutant("ties-round-up", "rounding", "(half & (rest | kept[0]))", "half", "normalise"),
    Mutant("beyond-infinity", "rounding", "Mux(packed > infinity, infinity, packed)", "packed", "normalise"),
    # Buffers, arbiter and sequencer
    Mutant(
        "digit-planes-swapped",
        "token_buffer",
        "low = DIGIT_BITS * (config.digits - 1 - digit)",
        "low = DIGIT_BITS * digit",
        "key_buffer",
    ),
    Mutant(
        "one-plane-of-a-whole-code",
        "token_buffer",
        "wanted |= self.address.whole",
        "wanted |= 0",
        "key_buffer",
        engine="multipliers",
    ),
    Mutant("bank-off-by-one", "token_buffer", "write_bank == n", "write_bank + 1 == n", "value_buffer"),
    Mutant(
        "slot-ignored", "token_buffer", "address.slot.eq(self.i.payload.tile_slot)", "address.slot.eq(0)", "key_buffer"
    ),
    Mutant(
        "query-slot-ignored", "query_buffer", "Cat(beat.visit.row, beat.query_slot)", "beat.visit.row", "query_buffer"
    ),
    Mutant("serves-who-did-not-ask", "arbiter", "Cat(self.asking[n] & (", "Cat((", "arbiter"),
    Mutant("turn-stays", "arbiter", "with m.If(self.enable):", "with m.If(0):", "arbiter"),
    Mutant(
        "another-tier-whole",
        "sequencer",
        "current.tier == Tier.FULL",
        "current.tier == Tier.LUT8",
        "sequencer",
        engine="multipliers",
    ),
    Mutant("inner-loops-ignored", "loops", "inner_end = inner_end & ends", "inner_end = ends", "loops"),
    Mutant("loops-do-not-begin-again", "loops", "Mux(ends, 0, index + 1)", "index + 1", "sequencer"),
    Mutant(
        "events-of-any-loop", "loops", "for name in event.loops).all()", "for name in event.loops).any()", "sequencer"
    ),
    Mutant("always-first", "sequencer", "first.eq(wants_query)", "first.eq(1)", "sequencer"),
    # Preparation
    Mutant("reach-shrinks", "statistics", "(reach >> 1) + late.raised", "reach >> 1", "statistics"),
    Mutant("division-stops-short", "statistics", "remainder >= rows", "remainder > rows", "statistics"),
    Mutant("half-a-rotation", "rotate", "[even - odd for even", "[odd - even for even", "rotate"),
    Mutant("inexact-scale-not-raised", "quantise", "rounded = top + inexact", "rounded = top + 0", "quantise"),
    Mutant("one-mean", "centre", "Mux(value, self.values.mean[n], self.keys.mean[n])", "self.keys.mean[n]", "centre"),
    Mutant("one-step", "quantise", "*(digit << unit for unit in units)", "*[digit << units[1]] * 2", "quantise"),
    Mutant("values-do-not-wait", "prepare", "ready & ~pending, fork", "ready, fork", "prepare"),
    Mutant("ties-go-up", "rounding", "half & (rest | kept[0])", "half", "encode"),
    Mutant("coarse-row-shifted", "restore", "Mux(mean_finer, row_power, mean_power)", "row_power", "restore"),
    # Speculation, matching and grouping
    Mutant("sum-not-shifted", "pool", "total.eq(total >> 1)", "total.eq(total)", "pool"),
    Mutant("mass-not-shifted", "estimate", "(total >> rise) + mass", "total + mass", "estimate"),
    Mutant("absent-queries-count", "estimate", "word.empty | (self.top < n)", "word.empty", "estimate"),
    Mutant("parts-run-on", "estimate", "raised = tag.begins | (", "raised = (", "estimate"),
    Mutant("rows-of-a-head-not-counted", "work_queue", "Mux(place.last, 0, given.first + 1)", "0", "work_queue"),
    Mutant("heads-not-counted", "work_queue", "given.number + 1", "given.number", "work_queue"),
    Mutant("tiles-run-on", "work_queue", "m.Elif(place.tile_end)", "m.Elif(0)", "work_queue"),
    Mutant("all-to-one-core", "work_queue", "core.eq(turn)", "core.eq(0)", "work_queue"),
    Mutant("rows-not-numbered", "worker", "at_work.first + left", "at_work.first", "worker"),
    Mutant("first-frame-skipped", "frames", "(known == 0) | ~seen", "(known == 0)", "speculate"),
    Mutant("step-ends-with-any-word", "steps", "if step.until else", "if 0 else", "speculate"),
    Mutant("text-forgotten", "speculate", "(pieces * config.piece < current", "(0 > current", "speculate"),
    Mutant("tier-too-long", "tier_buffer", "with m.If(piece_end):", "with m.If(tile_end):", "tier_buffer"),
    Mutant("near-at-the-limit", "match", "(gap << LIMIT_BITS) < bound", "(gap << LIMIT_BITS) <= bound", "match"),
    Mutant("reused-row-refers", "reuse", "decides & ~near & (here.place.frame != 0)", "decides", "reuse"),
    Mutant("asks-too-early", "reuse", "under_way + taken < self", "under_way < self", "reuse"),
    Mutant("heads-overlap", "reuse", "m.d.sync += ended.eq(1)", "m.d.sync += ended.eq(0)", "reuse"),
    Mutant(
        "near-to-nothing", "reuse", "near.eq(refers & match.o.payload.near)", "near.eq(match.o.payload.near)", "reuse"
    ),
    Mutant("cells-not-kept", "compact", "opens.w_data.eq(fresh)", "opens.w_data.eq(0)", "compact"),
    Mutant("window-forgotten", "compact", "distance.eq(distance + 1)", "distance.eq(distance)", "compact"),
    Mutant("frames-joined", "compact", "& (where.tile_frame == frame)", "", "compact"),
    Mutant(
        "full-tile-not-joined",
        "compact",
        "(joined + count <= config.query_rows)",
        "(joined + count < config.query_rows)",
        "compact",
    ),
    Mutant("end-not-awaited", "compact", "(~final | last | parts.r_rdy)", "1", "compact"),
    Mutant("end-forgotten", "compact", "((count != 0) | here.last)", "(count != 0)", "compact"),
    Mutant("frame-of-every-row", "compact", "Mux(begins, row.frame, frame)", "row.frame", "compact"),
    Mutant("lanes-repeat-nobody", "group", "Mux(active[lane], token, spare)", "token", "group"),
    Mutant("unstable-order", "group", "mark & ~marks[:n].any()", "mark & ~marks[n + 1 :].any()", "group"),
)


def run(folder: Path, component: str, table: str, engine: str) -> dict[str, Any]:
    """Run the component's bench on the design in `folder`/rtl, with models of its own."""
    paths = os.pathsep.join(map(str, (folder, ROOT)))
    outcome = subprocess.run(
        [sys.executable, "-c", RUN, component, table, engine],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "COCOTB_MAX_FAILURES": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    result = json.loads(outcome.stdout.splitlines()[-1])
    assert Path(result["rtl"]).parent == folder / "rtl", "the bench ran on another design"
    return result


@pytest.fixture
def design(tmp_path: Path) -> Path:
    """A folder with a copy of the design; what is compiled of Verilator itself is shared with all other tests."""
    shared = ROOT / BUILD / "runtime"
    shared.mkdir(parents=True, exist_ok=True)
    (tmp_path / BUILD).mkdir(parents=True)
    (tmp_path / BUILD / "runtime").symlink_to(shared)
    copy_design(tmp_path)
    return tmp_path


DESIGNS = sorted({(mutant.component, mutant.table, mutant.engine) for mutant in MUTANTS})


@pytest.mark.parametrize(("component", "table", "engine"), DESIGNS)
def test_unchanged_copy_passes(design: Path, component: str, table: str, engine: str) -> None:
    assert run(design, component, table, engine)["finding"] is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_bench_finds_the_mutant(design: Path, mutant: Mutant) -> None:
    Edit(mutant.file, mutant.source, mutant.replacement).apply(design)
    finding = run(design, mutant.component, mutant.table, mutant.engine)["finding"]
    assert finding is not None, "the mutant survived"
    assert "Mismatch: " in finding or "AssertionError: " in finding, f"the bench broke instead: {finding}"
