"""What `scripts.capture` knows of diffusers: the transformer classes, and how to see what their attention is given.

Needs the extra `capture`, whose packages are imported when they are needed, so that nothing else ever needs them.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXTRA = ("torch", "diffusers", "transformers")


class ExtraMissing(ImportError):
    """A package of the extra `capture` is not installed."""


def extra(name: str) -> Any:
    """A module of the extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExtraMissing(f"capture needs {', '.join(EXTRA)}: pip install simpicker[capture] ({error})") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """How a transformer class arranges its tokens; those of the video go by frame, row and column in all classes."""

    name: str
    """In the names of files."""
    layers: tuple[tuple[str, str], ...]
    """Lists of blocks in the order they run, and the name of the self-attention in a block."""
    text_first: bool = False
    frames_axis: int = 2
    """Of the latent; height and width are its last two."""
    forwards_per_step: int = 1
    """Calls of the transformer in a step of its pipeline, with the guidance that this has by default."""

    def attentions(self, transformer: Any) -> list[Any]:
        """The self-attention modules of all layers."""
        return [getattr(block, name) for blocks, name in self.layers for block in getattr(transformer, blocks)]

    def grid(self, transformer: Any, latent: Any) -> tuple[int, int, int]:
        """Frames, height and width of the tokens that the transformer makes of a latent."""
        sizes = latent.shape[self.frames_axis], *latent.shape[-2:]
        patch = transformer.config.patch_size
        if isinstance(patch, int):  # of space; CogVideoX 1.0 says None for that of time
            patch = (transformer.config.patch_size_t or 1, patch, patch)
        frames, height, width = (size // piece for size, piece in zip(sizes, patch, strict=True))
        return frames, height, width

    def order(self, grid: tuple[int, int, int], kept: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Indices of the tokens of a trace, text first; `kept` [tokens] says which ones the model does not mask."""
        text = len(kept) - math.prod(grid)
        if text < 0:
            raise ValueError(f"{len(kept)} tokens: must be at least those of the grid {grid}")
        tokens = np.arange(len(kept)) if self.text_first else np.roll(np.arange(len(kept)), text)
        if not kept[tokens[text:]].all():
            raise ValueError("video tokens are masked: a trace cannot say that")
        return tokens[kept[tokens]]


MODELS = {
    "CogVideoXTransformer3DModel": Model(
        name="cogvideox", layers=(("transformer_blocks", "attn1"),), text_first=True, frames_axis=1
    ),
    "HunyuanVideoTransformer3DModel": Model(
        name="hunyuanvideo", layers=(("transformer_blocks", "attn"), ("single_transformer_blocks", "attn"))
    ),
    "WanTransformer3DModel": Model(name="wan", layers=(("blocks", "attn1"),), forwards_per_step=2),
}


def model_of(class_name: str) -> Model:
    """The arrangement of a transformer class; ValueError names the known ones."""
    if class_name not in MODELS:
        raise ValueError(f"model class {class_name}: must be one of {', '.join(MODELS)}")
    return MODELS[class_name]


def watching(watch: Callable[..., None]) -> Any:
    """A context in which `watch` is given the arguments of every call of scaled_dot_product_attention.

    Processors end there, by themselves or through diffusers' choice of backends, unless another one is chosen.
    """
    attention = extra("torch.nn.functional").scaled_dot_product_attention

    class Watch(extra("torch.overrides").TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is attention:
                watch(*args, **(kwargs or {}))
            return function(*args, **(kwargs or {}))

    return Watch()


def kept_tokens(
    q: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> NDArray[np.bool_]:
    """[batch, tokens]: which tokens an attention lets through, from the arguments of scaled_dot_product_attention.

    q is [batch, heads, tokens, head_dim]. Whatever is not softmax(q @ k.T / sqrt(head_dim)) @ v of the tokens let
    through raises ValueError.
    """
    batch, _, tokens, head_dim = q.shape
    if is_causal or dropout_p or enable_gqa or not (scale is None or math.isclose(scale, head_dim**-0.5)):
        raise ValueError(
            "the attention is causal, grouped, with dropout or a scale of its own: a trace cannot say that"
        )
    if attn_mask is None:
        return np.ones((batch, tokens), bool)
    shape = (1,) * (4 - attn_mask.ndim) + tuple(attn_mask.shape)
    if attn_mask.dtype != extra("torch").bool or shape[1:3] != (1, 1):
        raise ValueError(f"a mask {shape} of {attn_mask.dtype}: must be [batch, 1, 1, tokens] of bool")
    return attn_mask.expand(batch, 1, 1, tokens)[:, 0, 0].cpu().numpy()
