"""Trace files: the q, k and v of attention heads, read with every check that keeps bad tensors out."""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

TENSORS = ("q", "k", "v")
DTYPES: dict[str, Any] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}


@dataclasses.dataclass(frozen=True)
class Head:
    """One attention head: softmax(q @ k.T / sqrt(head_dim)) @ v.

    Tokens are the text tokens first, then the video tokens: frame by frame, row by row.
    """

    name: str
    q: NDArray[np.float32]
    k: NDArray[np.float32]
    v: NDArray[np.float32]
    """[tokens, head_dim] each"""
    grid: tuple[int, int, int]
    """Frames, height and width of the video tokens."""
    text_tokens: int = 0

    def __post_init__(self) -> None:
        frames, height, width = self.grid
        for tensor in TENSORS:
            shape = getattr(self, tensor).shape
            if len(shape) != 2 or 0 in shape or shape != self.q.shape:
                raise ValueError(
                    f"{self.name}: {tensor} has the shape {shape}: must be [tokens, head_dim], alike for q, k and v"
                )
        if min(frames, height, width, self.text_tokens) < 0:
            raise ValueError(
                f"{self.name}: grid {self.grid} with text_tokens = {self.text_tokens}: must not be negative"
            )
        if frames * height * width + self.text_tokens != len(self.q):
            raise ValueError(
                f"{self.name}: {len(self.q)} tokens: must be those of grid {frames} x {height} x {width}"
                f" and text_tokens = {self.text_tokens}"
            )

    def cut(self, grid: tuple[int, int, int], head_dim: int | None = None) -> Head:
        """The first frames, rows and columns of the video tokens and the first channels; text tokens stay."""
        if any(n < 1 or n > have for n, have in zip(grid, self.grid, strict=True)):
            raise ValueError(f"{self.name}: cannot cut the grid {grid} out of {self.grid}")
        if head_dim is not None and not 1 <= head_dim <= self.q.shape[1]:
            raise ValueError(f"{self.name}: cannot cut head_dim = {head_dim} out of {self.q.shape[1]}")
        frames, height, width = grid
        video = np.arange(self.text_tokens, len(self.q)).reshape(self.grid)[:frames, :height, :width]
        keep = np.concatenate([np.arange(self.text_tokens), video.reshape(-1)])
        q, k, v = (getattr(self, tensor)[keep, :head_dim] for tensor in TENSORS)
        return Head(self.name, q, k, v, grid, self.text_tokens)


def load(path: str | Path, grid: Sequence[int] | None = None, text_tokens: int | None = None) -> list[Head]:
    """The heads of a .npz or .safetensors file.

    The file holds q, k and v, [heads, tokens, head_dim] or [tokens, head_dim], of float16, bfloat16 or float32.
    An .npz also holds the arrays `grid` (frames, height, width) and `text_tokens`; a .safetensors has them as tensors
    or as metadata, "grid": "16,16,16". Arguments take their place; without either text_tokens = 0 and the video
    tokens count as one frame of a single row. bfloat16, for which .npz has no type, may be stored there as ml_dtypes
    writes it. A file that is missing, not an archive or cut short, or whose tensors are missing, empty, of other
    types, of shapes that disagree, or not finite raises ValueError with one line that names what is wrong.
    """
    path = Path(path)
    try:
        arrays = _READERS[path.suffix](path)
    except KeyError:
        raise ValueError(f"{path}: must end in {' or '.join(_READERS)}") from None
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    missing = [tensor for tensor in TENSORS if tensor not in arrays]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}; it holds {', '.join(sorted(arrays)) or 'nothing'}")
    tensors = [_checked(path, name, arrays[name]) for name in TENSORS]
    shapes = {name: tensor.shape for name, tensor in zip(TENSORS, tensors, strict=True)}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"{path}: q, k and v must have one shape: got " + ", ".join(f"{n} {s}" for n, s in shapes.items())
        )
    q, k, v = (tensor if tensor.ndim == 3 else tensor[None] for tensor in tensors)
    text = _integers(path, "text_tokens", arrays.get("text_tokens", 0) if text_tokens is None else text_tokens, 1)[0]
    default = (1, 1, q.shape[1] - text)
    frames, height, width = _integers(path, "grid", arrays.get("grid", default) if grid is None else grid, 3)
    names = [path.stem] if tensors[0].ndim == 2 else [f"{path.stem}.h{i}" for i in range(len(q))]
    return [Head(name, q[i], k[i], v[i], (frames, height, width), text) for i, name in enumerate(names)]


def save_npz(path: str | Path, heads: Sequence[Head], dtype: str = "float16") -> None:
    """Write heads of one grid as an .npz that `load` reads; unlike grids or an unknown dtype raise ValueError."""
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype = {dtype!r}: must be float16 or float32")
    if not heads or len({(head.grid, head.text_tokens, head.q.shape) for head in heads}) != 1:
        raise ValueError("heads of one file: must be at least one, of one shape, grid and text_tokens")
    stacked: dict[str, Any] = {
        name: np.stack([getattr(head, name) for head in heads]).astype(dtype) for name in TENSORS
    }
    np.savez_compressed(path, **stacked, grid=np.array(heads[0].grid), text_tokens=np.array(heads[0].text_tokens))


def _read_npz(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it holds a single array")
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, NotImplementedError) as error:
        raise ValueError(f"{path}: not a readable .npz archive ({_line(error)})") from None


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            arrays: dict[str, Any] = dict(file.metadata() or {})
            return arrays | {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except (SafetensorError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a readable .safetensors file ({_line(error)})") from None


_READERS = {".npz": _read_npz, ".safetensors": _read_safetensors}


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _checked(path: Path, name: str, tensor: NDArray[Any]) -> NDArray[np.float32]:
    """One tensor as float32, or a ValueError that names what is wrong with it."""
    if not isinstance(tensor, np.ndarray):
        raise ValueError(f"{path}: {name} is metadata: must be a tensor")
    if tensor.dtype == np.dtype("V2"):  # how NumPy stores a bfloat16 array
        tensor = tensor.view(ml_dtypes.bfloat16)
    if tensor.dtype not in [np.dtype(dtype) for dtype in DTYPES.values()]:
        raise ValueError(f"{path}: {name} has the dtype {tensor.dtype}: must be one of {', '.join(DTYPES)}")
    if tensor.ndim not in (2, 3):
        raise ValueError(
            f"{path}: {name} has {tensor.ndim} dimensions: must be [heads, tokens, head_dim] or [tokens, head_dim]"
        )
    if tensor.size == 0:
        raise ValueError(f"{path}: {name} of shape {tensor.shape} is empty")
    bad = np.argwhere(~np.isfinite(tensor.astype(np.float32)))
    if len(bad):
        head, token, channel = (0,) * (3 - tensor.ndim) + tuple(int(i) for i in bad[0])
        value = tensor[tuple(bad[0])]
        raise ValueError(f"{path}: {name} is {value} at head {head}, token {token}, channel {channel}: must be finite")
    return tensor.astype(np.float32)


def _integers(path: Path, name: str, value: Any, count: int) -> list[int]:
    """`count` integers given as a number, a sequence, an array or a comma-separated string."""
    try:
        parts = value.strip("[]()").split(",") if isinstance(value, str) else np.asarray(value).reshape(-1).tolist()
        numbers = [int(part) for part in parts]
        if len(numbers) == count and all(float(part) == number for part, number in zip(parts, numbers, strict=True)):
            return numbers
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{path}: {name} = {value!r}: must be {count} integer{'s' if count > 1 else ''}")
