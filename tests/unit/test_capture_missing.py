"""What of the capture needs neither PyTorch nor diffusers, among it what is said without them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from golden.traces import load
from scripts.capture import Capture, main, write_trace
from scripts.capture_models import EXTRA, MODELS, ExtraMissing, extra, model_of

ROOT = Path(__file__).parents[2]
COMMAND = ["capture", "nobody/nothing", "--prompt", "a street", "--layers", "0", "--steps", "1"]


def refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command ends with."""
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


@pytest.mark.parametrize("package", EXTRA)
def test_the_extra_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in EXTRA[: EXTRA.index(package)]:
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExtraMissing):
        extra(package)
    line = refused([*COMMAND, "--out", str(tmp_path / "out")], monkeypatch, capsys)
    assert "pip install simpicker[capture]" in line
    assert package in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*COMMAND, "--layers", "1,x"], "'1,x': must be numbers such as 1,5"),
        (COMMAND[:-2], "Missing option '--steps'"),
        ([*COMMAND, "--speed", "9"], "No such option"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(arguments, monkeypatch, capsys)


def test_nothing_of_the_extra_is_imported_before_it_is_needed() -> None:
    code = f"import sys, scripts.capture; sys.exit(any(name in sys.modules for name in {EXTRA}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_known_classes_are_named() -> None:
    with pytest.raises(ValueError, match=r"model class SimpleNamespace: must be one of CogVideoX.*Hunyuan.*Wan"):
        Capture(SimpleNamespace(), "out", layers=[0], steps=[0])


class WanTransformer3DModel(SimpleNamespace):
    """Two layers and three heads, as far as a Capture looks before it is opened."""

    def __init__(self) -> None:
        super().__init__(blocks=[SimpleNamespace(attn1=None)] * 2, config=SimpleNamespace(num_attention_heads=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [1, 2]}, r"layer 2: must be in 0\.\.1"),
        ({"layers": [-1]}, r"layer -1: must be in 0\.\.1"),
        ({"heads": [3]}, r"head 3: must be in 0\.\.2"),
        ({"steps": [-1]}, "step -1: must be at least 0"),
        ({"steps": []}, "steps: must be at least one"),
        ({"forwards_per_step": 0}, "forwards_per_step = 0: must be at least 1"),
    ],
)
def test_wrong_choices_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    choice: dict[str, Any] = {"layers": [0], "steps": [0]}
    with pytest.raises(ValueError, match=message):
        Capture(WanTransformer3DModel(), tmp_path / "out", **choice | changes)
    assert not (tmp_path / "out").exists()


def test_text_comes_first_and_masked_text_is_left_out() -> None:
    kept = np.array([True] * 4 + [True, False, True])  # video of 4 tokens, then text
    model = model_of("HunyuanVideoTransformer3DModel")
    assert model.order((1, 2, 2), kept).tolist() == [4, 6, 0, 1, 2, 3]
    kept = np.array([False, True, True] + [True] * 4)
    model = model_of("CogVideoXTransformer3DModel")
    assert model.order((1, 2, 2), kept).tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", MODELS)
def test_masked_video_and_too_few_tokens_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="video tokens are masked"):
        MODELS[name].order((1, 2, 2), np.array([True, True, False, True]))
    with pytest.raises(ValueError, match=r"3 tokens: must be at least those of the grid \(1, 2, 2\)"):
        MODELS[name].order((1, 2, 2), np.ones(3, bool))


def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {name: np.ones((2, 4, 8), np.float16) for name in "qkv"} | {"grid": (1, 2, 2), "text_tokens": 0}
    path = tmp_path / "trace.npz"
    with pytest.raises(ValueError, match=r"^k is nan at head 0, token 0, channel 0: must be finite"):
        write_trace(path, **good | {"k": np.full((2, 4, 8), np.nan, np.float16)})

    def disk_full(part: Path, **_: Any) -> None:
        part.write_bytes(b"PK")
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(np, "savez", disk_full)
        with pytest.raises(OSError, match="no space left"):
            write_trace(path, **good)
    assert list(tmp_path.iterdir()) == []
    write_trace(path, **good)
    assert list(tmp_path.iterdir()) == [path]
    assert load(path)[1].grid == (1, 2, 2)
