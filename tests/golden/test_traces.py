from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from golden.traces import Head, load, save_npz

MakeHead = Callable[..., Head]
FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32]


def tensors(shape: tuple[int, ...] = (3, 32, 16), dtype: Any = np.float16) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(dtype) for name in "qkv"}


def write(path: Path, arrays: dict[str, Any], grid: Any = (2, 4, 4), text: Any = 0) -> Path:
    """A trace file of either kind; None leaves grid or text_tokens out."""
    extra = {name: value for name, value in (("grid", grid), ("text_tokens", text)) if value is not None}
    if path.suffix == ".npz":
        np.savez(path, **arrays, **extra)
    else:
        as_text = {name: value if isinstance(value, str) else str(value).strip("()") for name, value in extra.items()}
        save_file(arrays, path, metadata=as_text)
    return path


@pytest.fixture(params=[".npz", ".safetensors"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"trace{request.param}"


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_type_is_read_exactly(path: Path, dtype: Any) -> None:
    arrays = tensors(dtype=dtype)
    heads = load(write(path, arrays))
    assert [head.name for head in heads] == ["trace.h0", "trace.h1", "trace.h2"]
    for i, head in enumerate(heads):
        assert (head.grid, head.text_tokens) == ((2, 4, 4), 0)
        for name in "qkv":
            assert getattr(head, name).dtype == np.float32
            assert (getattr(head, name) == arrays[name][i].astype(np.float32)).all()


def test_two_dimensions_are_one_head(path: Path) -> None:
    (head,) = load(write(path, tensors((32, 16)), grid=(1, 3, 8), text=8))
    assert (head.name, head.grid, head.text_tokens) == ("trace", (1, 3, 8), 8)


def test_without_a_grid_the_tokens_are_one_row(path: Path) -> None:
    write(path, tensors(), grid=None, text=None)
    assert load(path)[0].grid == (1, 1, 32)
    assert load(path, text_tokens=5)[0].grid == (1, 1, 27)


def test_arguments_take_the_place_of_the_file(path: Path) -> None:
    head = load(write(path, tensors()), grid=(1, 5, 5), text_tokens=7)[0]
    assert (head.grid, head.text_tokens) == ((1, 5, 5), 7)


def test_safetensors_may_hold_the_grid_as_tensors(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    save_file(tensors() | {"grid": np.array([2, 4, 3]), "text_tokens": np.array([8])}, path)
    assert (load(path)[0].grid, load(path)[0].text_tokens) == ((2, 4, 3), 8)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_saved_heads_are_read_back(tmp_path: Path, make_head: MakeHead, dtype: str) -> None:
    heads = [make_head((2, 3, 4), 5, seed=seed) for seed in (0, 1)]
    save_npz(tmp_path / "saved.npz", heads, dtype)
    for head, got in zip(heads, load(tmp_path / "saved.npz"), strict=True):
        assert (got.grid, got.text_tokens) == (head.grid, head.text_tokens)
        for name in "qkv":
            assert (getattr(got, name) == getattr(head, name).astype(dtype)).all()


def test_what_cannot_be_saved_is_refused(tmp_path: Path, make_head: MakeHead) -> None:
    with pytest.raises(ValueError, match="dtype = 'int8': must be float16 or float32"):
        save_npz(tmp_path / "x.npz", [make_head()], "int8")
    for heads in ([], [make_head((1, 4, 4)), make_head((2, 4, 4))]):
        with pytest.raises(ValueError, match="heads of one file"):
            save_npz(tmp_path / "x.npz", heads)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": None}, "lacks k; it holds .*q, "),
        ({"q": None, "v": None}, "lacks q, v; it holds"),
        (
            {"k": np.zeros((32, 16), np.float16)},
            r"must have one shape: got q \(3, 32, 16\), k \(32, 16\), v \(3, 32, 16\)",
        ),
        ({"v": np.zeros((3, 32, 8), np.float16)}, r"must have one shape: got .*v \(3, 32, 8\)"),
        ({"q": np.zeros((3, 32, 16), np.int8)}, "q has the dtype int8: must be one of float16, bfloat16, float32"),
        ({"q": np.zeros((3, 32, 16))}, "q has the dtype float64"),
        ({"v": np.zeros((1, 3, 32, 16), np.float16)}, "v has 4 dimensions"),
        ({"q": np.zeros((3, 0, 16), np.float16)}, r"q of shape \(3, 0, 16\) is empty"),
    ],
)
def test_bad_tensors_are_named(path: Path, change: dict[str, Any], message: str) -> None:
    arrays = {name: array for name, array in (tensors() | change).items() if array is not None}
    with pytest.raises(ValueError, match=message) as error:
        load(write(path, arrays))
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("shape", "index"), [((3, 32, 16), (2, 7, 11)), ((32, 16), (7, 11))])
@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_numbers_that_are_not_finite_are_located(
    path: Path, name: str, shape: tuple[int, ...], index: tuple[int, ...], value: float
) -> None:
    arrays = tensors(shape)
    arrays[name][index] = value
    head = index[0] if len(index) == 3 else 0
    with pytest.raises(ValueError, match=f"{name} is {value} at head {head}, token 7, channel 11: must be finite"):
        load(write(path, arrays))


@pytest.mark.parametrize(
    ("grid", "text", "message"),
    [
        ((2, 4, 4), 1, "32 tokens: must be those of grid 2 x 4 x 4 and text_tokens = 1"),
        ((2, 4, 5), 0, "32 tokens: must be those of grid 2 x 4 x 5"),
        ((-2, -4, 4), 0, "must not be negative"),
        (None, 40, "must not be negative"),
        ("2,x,4", 0, "grid = .*: must be 3 integers"),
        ((2, 16), 0, "grid = .*: must be 3 integers"),
        ((2, 4, 4), "many", "text_tokens = .*many.*: must be 1 integer"),
        ((2, 4.5, 4), 0, "grid = .*: must be 3 integers"),
    ],
)
def test_bad_grids_are_named(path: Path, grid: Any, text: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(write(path, tensors(), grid, text))


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_in_one_line(path: Path, keep: float) -> None:
    data = write(path, tensors()).read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(ValueError, match=f"{path.name}: not a readable {path.suffix}") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_damaged_archive_is_refused(tmp_path: Path, make_head: MakeHead) -> None:
    path = tmp_path / "saved.npz"
    save_npz(path, [make_head()])
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"not a readable \.npz archive"):
        load(path)


def test_a_single_array_or_another_file_is_refused(tmp_path: Path) -> None:
    array, text, missing = tmp_path / "array.npz", tmp_path / "text.npz", tmp_path / "missing.npz"
    with array.open("wb") as file:
        np.save(file, np.zeros(3))
    text.write_text("not an archive")
    for path, message in ((array, "not a readable .npz"), (text, "not a readable .npz"), (missing, "no such file")):
        with pytest.raises(ValueError, match=message):
            load(path)
    with pytest.raises(ValueError, match=r"must end in .npz or .safetensors"):
        load(tmp_path / "trace.pt")
    with pytest.raises(ValueError, match="no such file"):
        load(tmp_path / "missing.safetensors")


def test_cut_keeps_the_text_and_a_corner_of_the_video(make_head: MakeHead) -> None:
    head = make_head((3, 4, 5), 2)
    cut = head.cut((2, 3, 4), 8)
    assert (cut.grid, cut.text_tokens, cut.q.shape) == ((2, 3, 4), 2, (26, 8))
    assert (cut.k[:2] == head.k[:2, :8]).all()
    video = head.k[2:].reshape(3, 4, 5, 16)
    assert (cut.k[2:] == video[:2, :3, :4, :8].reshape(-1, 8)).all()


@pytest.mark.parametrize(("grid", "head_dim"), [((4, 4, 5), 16), ((3, 0, 5), 16), ((3, 4, 5), 17)])
def test_cuts_beyond_the_head_are_refused(make_head: MakeHead, grid: tuple[int, int, int], head_dim: int) -> None:
    with pytest.raises(ValueError, match="random0: cannot cut"):
        make_head((3, 4, 5)).cut(grid, head_dim)


def test_heads_of_unlike_tensors_are_refused(make_head: MakeHead) -> None:
    head = make_head()
    with pytest.raises(ValueError, match=r"k has the shape \(63, 16\)"):
        dataclasses.replace(head, k=head.k[1:])
