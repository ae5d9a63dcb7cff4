"""The comparison of videos, with a sampler that needs no PyTorch."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from golden.presets import DEFAULT_PRESET, preset
from scripts.video import SHAPE, main, psnr, rules

pytest.importorskip("matplotlib")

from scripts.video_picture import PATCH, SIDE, draw_videos, frames

ROOT = Path(__file__).parents[2]
RULES = [rule.name for rule in rules(DEFAULT_PRESET, preset(DEFAULT_PRESET))]
SAMPLER = """
import argparse, os, pathlib
import numpy as np

parser = argparse.ArgumentParser()
for name in ("attention", "out", "against", "png", "clip", "seed", "steps"):
    parser.add_argument("--" + name)
a = parser.parse_args()
with pathlib.Path(__file__).with_name("calls.txt").open("a") as calls:
    settings = " ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("SIMPICKER_"))
    calls.write(f"{a.clip} {a.seed} {a.steps} {a.attention} {settings}\\n")
shift = 0.0 if a.attention is None else 0.1
if os.environ.get("SIMPICKER_RULE") == "drop":
    shift = 0.2
video = np.full((1, 4096, 192), 0.5 + shift + 0.01 * int(a.seed), np.float32)
"""
GOOD = SAMPLER + "np.save(a.out, video)\n"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in an empty folder with a sampler of this text: exit code, and what it said of errors."""
    monkeypatch.chdir(tmp_path)

    def command(text: str, *arguments: str) -> tuple[int, str]:
        Path("sampler.py").write_text(text)
        monkeypatch.setattr(sys, "argv", ["video", "sampler.py", "--out", "out", *arguments])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return command


def calls() -> list[str]:
    return Path("calls.txt").read_text().splitlines()


def test_psnr_by_hand() -> None:
    dense = np.zeros(SHAPE, np.float32)
    assert psnr(dense + np.float32(0.2), dense) == pytest.approx(20, abs=1e-4)  # 10 * log10(4 / 0.04)
    assert psnr(dense + 5, dense + 1) == pytest.approx(126.0206)  # both clamped to 1
    assert psnr(dense - 9, dense + 1) == pytest.approx(0)


def test_drop_does_equal_work() -> None:
    config = dataclasses.replace(preset(DEFAULT_PRESET), top_share=0.125)
    variables = {rule.name: rule.variables for rule in rules("mine", config)}
    assert variables["dense"] is None
    drop, passes, reuse = (variables[name] or {} for name in ("drop", "drop_equal_passes", "simpicker_reuse"))
    assert (drop["SIMPICKER_RULE"], drop["SIMPICKER_TOP_SHARE"]) == ("drop", "0.125")
    assert passes["SIMPICKER_TOP_SHARE"] == "0.5625"
    assert reuse["SIMPICKER_REUSE_DISTANCE"] == "0.24"


def test_everything_is_written_and_made_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMPICKER_RULE", "int4")  # of the caller, and not meant for the sampler
    arguments = ["--clips", "3", "--seeds", "0,1", "--steps", "2"]
    assert run(GOOD, *arguments) == (0, "")
    assert len(calls()) == 2 * len(RULES)
    assert [line.split()[:4] for line in calls()[:2]] == [
        ["3", "0", "2", "None"],
        ["3", "0", "2", "scripts.torch_attention:attention"],
    ]
    assert calls()[0].strip().endswith("None")
    document = json.loads(Path("out/video.json").read_text())
    assert [(run["seed"], run["rule"]) for run in document["runs"]] == [
        (seed, rule) for seed in (0, 1) for rule in RULES
    ]
    decibels = {run["rule"]: run["psnr"] for run in document["runs"]}
    assert decibels["dense"] is None
    assert decibels["simpicker"] == decibels["simpicker_reuse"] == pytest.approx(10 * np.log10(4 / 0.01), abs=1e-3)
    assert decibels["drop"] == pytest.approx(20, abs=1e-3)
    assert document["config_hash"] == preset(DEFAULT_PRESET).hash
    assert document["versions"]["numpy"] == np.__version__
    assert all(run["seconds"] >= 0 and run["device"] for run in document["runs"])
    picture = Path("out/video.png").read_bytes()
    assert picture[:4] == b"\x89PNG"
    assert int.from_bytes(picture[16:20], "big") == 1400
    assert not [path for path in Path("out").iterdir() if path.name.startswith(".")]

    assert run(GOOD, *arguments)[0] == 0
    assert len(calls()) == 2 * len(RULES)
    assert json.loads(Path("out/video.json").read_text())["runs"] == document["runs"]
    assert run(GOOD, *arguments[:-1], "3")[0] == 0
    assert len(calls()) == 4 * len(RULES)
    assert run(GOOD + "\n", *arguments)[0] == 0  # another sampler
    assert len(calls()) == 6 * len(RULES)


def test_what_was_made_before_a_failure_is_kept(run: Run) -> None:
    once = (
        "if len(pathlib.Path(__file__).with_name('calls.txt').read_text().splitlines()) == 3: raise SystemExit('no')\n"
    )
    code, error = run(SAMPLER + once + "np.save(a.out, video)\n", "--clips", "0", "--seeds", "0")
    assert (code, error.count("\n")) == (1, 1)
    assert "sampler.py, clip 0, seed 0, simpicker_reuse: exit code 1, no" in error
    assert sorted(path.suffix for path in Path("out").iterdir()) == [".json", ".json", ".npy", ".npy"]
    assert run(SAMPLER + once + "np.save(a.out, video)\n", "--clips", "0", "--seeds", "0")[0] == 0
    assert len(calls()) == len(RULES) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit('the weights are missing')", "exit code 1, the weights are missing"),
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", "No module named 'torch': pip install torch"),
        ("", "clip 6, seed 0, dense: it ended well, but wrote no --out"),
        (SAMPLER + "np.save(a.out, video[:, :5])", "float32 of shape (1, 5, 192): must be floats of shape"),
        (SAMPLER + "np.save(a.out, video * np.nan)", "the video holds an infinity or a NaN"),
        (SAMPLER + "open(a.out, 'w').write('x')", "not a readable .npy file"),
    ],
)
def test_a_sampler_that_fails_leaves_nothing(run: Run, text: str, message: str) -> None:
    code, error = run(text)
    assert (code, error.count("\n")) == (1, 1)
    assert error.startswith("error: sampler.py, clip 6, seed 0, dense")
    assert message in error
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clips", "6,x"], "'6,x': must be numbers, at least 0, such as 0,1"),
        (["--seeds", "-1"], "'-1': must be numbers"),
        (["--steps", "0"], "0 is not in the range x>=1"),
        (["--preset", "huge"], "preset 'huge': must be one of"),
        (["other.py"], "Got unexpected extra argument"),
    ],
)
def test_wrong_arguments_are_refused(run: Run, arguments: list[str], message: str) -> None:
    code, error = run(GOOD, *arguments)
    assert (code, error.count("\n")) == (2, 1)
    assert message in error
    assert not Path("out").exists()


def test_a_missing_sampler_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["video", "missing.py"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "'missing.py' does not exist" in capsys.readouterr().err


def test_it_needs_neither_the_simulator_nor_the_generator() -> None:
    missing = ("amaranth", "cocotb", "verilator", "ml_dtypes", "safetensors", "torch")
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import scripts.video, scripts.video_picture"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_pixels_are_where_their_patches_say(tmp_path: Path) -> None:
    video = np.zeros(SHAPE)
    frame, y, x, channel = 5, 9 * PATCH + 3, 2 * PATCH + 6, 2
    video[0, (frame * SIDE + 9) * SIDE + 2, (channel * PATCH + 3) * PATCH + 6] = 7
    images = frames(video)
    assert images[frame, y, x, channel] == 1
    assert np.count_nonzero(images != 0.5) == 1
    with pytest.raises(ValueError, match="videos: must be at least one"):
        draw_videos([], tmp_path / "none.png")
