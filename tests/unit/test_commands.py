"""What users see of the commands: results as files, and wrong input as one line and exit code 2, nothing written."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.presets import preset
from scripts.test import suites

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `python -m scripts.<verb>` in an empty folder."""

    def command(verb: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"scripts.{verb}", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return command


def tensors(**changes: Any) -> dict[str, Any]:
    """A good trace file's arrays, and what a test changes of them."""
    rng = np.random.default_rng(0)
    good = {name: rng.standard_normal((2, 32, 16)).astype(np.float16) for name in "qkv"}
    return good | {"grid": np.array([2, 4, 4]), "text_tokens": np.array(0)} | changes


def with_nan() -> np.ndarray:
    k = tensors()["k"]
    k[1, 7, 3] = np.nan
    return k


WRONG_TENSORS = {
    "unlike dimensions": ({"k": tensors()["k"][0]}, "q, k and v must have one shape"),
    "NaN": ({"k": with_nan()}, "k is nan at head 1, token 7, channel 3: must be finite"),
    "integers": ({"v": np.zeros((2, 32, 16), np.int32)}, "v has the dtype int32: must be one of float16"),
    "a grid of other tokens": ({"grid": np.array([3, 4, 4])}, "32 tokens: must be those of grid 3 x 4 x 4"),
    "63 channels": ({n: np.zeros((2, 32, 63), np.float16) for n in "qkv"}, "head_dim = 63: must be a multiple of 8"),
    "too many channels": ({n: np.zeros((2, 32, 80), np.float16) for n in "qkv"}, "at most config.head_dim = 64"),
}


def assert_refused(done: subprocess.CompletedProcess[str], message: str, folder: Path) -> None:
    """One line that says what is wrong, exit code 2, and no result."""
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (folder / "build").exists()


@pytest.mark.parametrize("case", WRONG_TENSORS)
def test_wrong_tensors_are_refused(run: Run, tmp_path: Path, case: str) -> None:
    changes, message = WRONG_TENSORS[case]
    np.savez(tmp_path / "wrong.npz", **tensors(**changes))
    assert_refused(run("demo", "wrong.npz"), message, tmp_path)


def test_a_truncated_file_is_refused(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "cut.npz", **tensors())
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    assert_refused(run("demo", "cut.npz"), "cut.npz: not a readable .npz archive", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.npz"], "missing.npz: no such file"),
        (["--head", "7"], "--head 7: "),
        (["--preset", "huge"], "preset 'huge': must be one of tiny, ecp5, amd, asic, paper"),
        (["--preset", "missing.json"], "preset 'missing.json': no such file"),
        (["--speed", "9"], "No such option"),
    ],
)
def test_wrong_arguments_are_refused(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert_refused(run("demo", *arguments), message, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            json.dumps(dataclasses.asdict(preset("tiny")) | {"head_dim": 63}),
            "config.head_dim = 63: must be a multiple of 16",
        ),
        (json.dumps(dataclasses.asdict(preset("tiny")) | {"speed": 1}), "unknown fields ['speed']"),
        ("{", "Expecting property name"),
    ],
)
@pytest.mark.parametrize("verb", ["demo", "verilog", "sim"])
def test_wrong_configurations_are_refused(run: Run, tmp_path: Path, verb: str, text: str, message: str) -> None:
    (tmp_path / "mine.json").write_text(text)
    assert_refused(run(verb, "--preset", "mine.json"), message, tmp_path)


def test_a_missing_compiler_is_named(run: Run, tmp_path: Path) -> None:
    assert_refused(
        run("demo", PATH=str(tmp_path)), "g++ is not installed: simulation needs g++, make and perl", tmp_path
    )


def test_verilog_of_a_configuration_file_goes_to_a_folder_of_its_name(run: Run, tmp_path: Path) -> None:
    config = dataclasses.replace(preset("tiny"), banks=3)
    (tmp_path / "mine.json").write_text(config.to_json())
    done = run("verilog", "--preset", "mine.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "build" / "mine" / "verilog.json").read_text())
    assert results["config"] == dataclasses.asdict(config)
    assert results["config_hash"] == config.hash
    assert {"simpicker", "python", "amaranth", "numpy"} <= set(results["versions"])
    assert {entry["file"] for entry in results["files"]} >= {"core.v", "config.json"}
    assert (tmp_path / "build" / "mine" / "verilog" / "core.v").stat().st_size > 10_000


def test_outcomes_are_counted_by_folder_and_files_skipped_as_a_whole_too(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        """<testsuites><testsuite>
        <testcase classname="tests.unit.test_a" name="test_x" time="0.5" />
        <testcase classname="tests.unit.test_a" name="test_y" time="1.5"><failure /></testcase>
        <testcase classname="tests.golden.test_b.TestC" name="test_z" time="2"><error /></testcase>
        <testcase classname="" name="tests.unit.test_d" time="0"><skipped /></testcase>
        </testsuite></testsuites>"""
    )
    found = suites(report)
    assert found["unit"] == {"passed": 1, "failed": 1, "skipped": 1, "seconds": 2}
    assert found["golden"] == {"error": 1, "seconds": 2}
