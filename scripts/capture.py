"""`python -m scripts.capture`: the q, k and v of a real video pipeline of Hugging Face diffusers, as trace files.

    with Capture(pipeline.transformer, "traces", layers=[1, 5], steps=[8, 20]) as capture:
        pipeline("a street in the rain")
    capture.files  # traces/cogvideox_s8_l1.npz, ...

The model runs its own code: what its attention processors hand to PyTorch's scaled_dot_product_attention, which is
after QK norm and RoPE, is watched and passed on as it is.
"""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from golden.traces import TENSORS, load
from scripts.capture_models import EXTRA, extra, kept_tokens, model_of, watching


class Capture:
    """While this context is open, chosen self-attentions of one pipeline run are written to `folder`.

    A file `<model>_s<step>_l<layer>.npz` is what golden.traces.load reads: q, k and v [heads, tokens, head_dim] in the
    dtype of the model, text tokens first and without those that the model masks, grid, text_tokens, and `heads`, which
    heads of the model these are.

    Layers are counted from 0 through the whole model: HunyuanVideo's single-stream blocks follow the others. So are
    steps, as calls of the transformer divided by `forwards_per_step` (2 for Wan, or 1, if not given); of several calls
    in a step the first counts, which diffusers makes for the prompt, the others without it. `batch` chooses from a
    batch; where guidance doubles it, the last is the one with the prompt.

    What is wrong raises ValueError, among it something chosen that never came. Closed, the model is as it was.
    """

    def __init__(
        self,
        transformer: Any,
        folder: str | Path,
        *,
        layers: Iterable[int],
        steps: Iterable[int],
        heads: Iterable[int] | None = None,
        batch: int = -1,
        forwards_per_step: int | None = None,
    ) -> None:
        self.model = model_of(type(transformer).__name__)
        self.transformer, self.folder, self.batch = transformer, Path(folder), batch
        attentions, all_heads = self.model.attentions(transformer), transformer.config.num_attention_heads
        self.attentions = {layer: attentions[layer] for layer in _chosen("layer", layers, len(attentions))}
        self.heads = _chosen("head", range(all_heads) if heads is None else heads, all_heads)
        self.steps = _chosen("step", steps)
        self.forwards_per_step = self.model.forwards_per_step if forwards_per_step is None else forwards_per_step
        if self.forwards_per_step < 1:
            raise ValueError(f"forwards_per_step = {forwards_per_step}: must be at least 1")
        self.files: list[Path] = []
        """Written so far."""
        self._forwards = 0
        self._grid = (0, 0, 0)
        self._path: Path | None = None
        """Where the attention that runs now is to be written."""

    @property
    def missing(self) -> list[Path]:
        """Files that are still to come."""
        chosen = [self._file(step, layer) for step in self.steps for layer in self.attentions]
        return [path for path in chosen if path not in self.files]

    def __enter__(self) -> Capture:
        with contextlib.ExitStack() as stack:
            stack.enter_context(watching(self._attention))
            stack.callback(self.transformer.register_forward_pre_hook(self._forward, with_kwargs=True).remove)
            for layer, attention in self.attentions.items():
                stack.callback(attention.register_forward_pre_hook(self._begins(layer)).remove)
                stack.callback(attention.register_forward_hook(self._ends).remove)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if kind is None and self.missing:
            raise ValueError(
                f"{'nothing' if not self.files else 'not everything'} captured, after {self._forwards} calls of the"
                f" transformer, {self.forwards_per_step} a step: no {', '.join(path.name for path in self.missing)}"
            )

    def _file(self, step: int, layer: int) -> Path:
        return self.folder / f"{self.model.name}_s{step}_l{layer}.npz"

    def _forward(self, _: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """The transformer is called."""
        self._grid = self.model.grid(self.transformer, arguments[0] if arguments else named["hidden_states"])
        self._forwards += 1

    def _begins(self, layer: int) -> Callable[..., None]:
        """What is to happen when the attention of a layer is called."""

        def hook(*_: Any) -> None:
            step, call = divmod(self._forwards - 1, self.forwards_per_step)
            self._path = self._file(step, layer) if call == 0 and step in self.steps else None

        return hook

    def _ends(self, *_: Any) -> None:
        """The attention of a layer is done."""
        if self._path is not None and self._path not in self.files:
            raise ValueError(
                f"{self._path.stem}: its attention did not call scaled_dot_product_attention:"
                " capture needs the backend 'native' (transformer.set_attention_backend) and no compiled model"
            )
        self._path = None

    def _attention(self, query: Any, key: Any, value: Any, *arguments: Any, **named: Any) -> None:
        """scaled_dot_product_attention is called, with [batch, heads, tokens, head_dim] and its names of arguments."""
        if self._path is None:
            return
        try:
            if self._path in self.files:
                raise ValueError("a second attention of this layer and step")
            if not -len(query) <= self.batch < len(query):
                raise ValueError(f"batch = {self.batch}: the model computes {len(query)} at once")
            order = self.model.order(self._grid, kept_tokens(query, *arguments, **named)[self.batch])
            tensors = {
                name: _array(tensor[self.batch][self.heads])[:, order]
                for name, tensor in zip(TENSORS, (query, key, value), strict=True)
            }
            text_tokens = len(order) - math.prod(self._grid)
            write_trace(self._path, **tensors, grid=self._grid, text_tokens=text_tokens, heads=self.heads)
        except ValueError as error:
            raise ValueError(f"{self._path.stem}: {error}") from None
        self.files.append(self._path)


def _chosen(what: str, chosen: Iterable[int], have: int | None = None) -> list[int]:
    """The chosen ones, sorted, each once; ValueError if there are none or one is out of range."""
    numbers = sorted(set(chosen))
    for number in numbers:
        if number < 0 or (have is not None and number >= have):
            raise ValueError(f"{what} {number}: must be {'at least 0' if have is None else f'in 0..{have - 1}'}")
    if not numbers:
        raise ValueError(f"{what}s: must be at least one")
    return numbers


def _array(tensor: Any) -> NDArray[Any]:
    """A torch tensor of any device, bit for bit; bfloat16 becomes that of ml_dtypes."""
    torch = extra("torch")
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def write_trace(path: Path, **arrays: Any) -> None:
    """Write a trace in one step: a file that is cut short, or that `load` refuses, never gets its name."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".capture") as scratch:
        part = Path(scratch, path.name)
        np.savez(part, **arrays)  # uncompressed: the low bits of activations are noise
        try:
            load(part)
        except ValueError as error:
            raise ValueError(str(error).removeprefix(f"{part}: ")) from None
        part.replace(path)


class Numbers(click.ParamType):
    """Numbers with commas between them."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        try:
            return [int(part) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r}: must be numbers such as 1,5", param, ctx)


@click.command()
@click.argument("model_id")
@click.option("--prompt", required=True)
@click.option("--layers", required=True, type=Numbers(), help="Counted from 0.")
@click.option("--steps", required=True, type=Numbers(), help="Denoising steps, counted from 0.")
@click.option("--heads", type=Numbers(), help="Counted from 0; without this all.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="traces", show_default=True)
@click.option("--component", default="transformer", show_default=True, help="transformer_2 is Wan 2.2's other half.")
@click.option("--forwards-per-step", type=int, help="Calls of the transformer; without this 2 for Wan, or 1.")
@click.option("--inference-steps", type=int, default=50, show_default=True)
@click.option("--frames", type=int, help="Of the video; without this, as with height and width, what the model is for.")
@click.option("--height", type=int, help="Pixels.")
@click.option("--width", type=int, help="Pixels.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--dtype", type=click.Choice(["bfloat16", "float16", "float32"]), default="bfloat16", show_default=True)
@click.option("--device", help="Without this cuda, if there is one.")
@click.option("--offload", is_flag=True, help="Only the part that runs is on the device.")
def capture(
    model_id: str, prompt: str, layers: list[int], steps: list[int], heads: list[int] | None, out: Path, **options: Any
) -> None:
    """Run the pipeline MODEL_ID, a name on the Hugging Face Hub or a folder, and write q, k and v of chosen layers."""
    torch, diffusers, _ = (extra(name) for name in EXTRA)
    component, count = options["component"], options["inference_steps"]
    _chosen("step", steps, count)
    parts = diffusers.DiffusionPipeline.load_config(model_id)  # before gigabytes of weights are fetched
    model_of(str(parts.get(component, (None, None))[1]))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(model_id, dtype=getattr(torch, options["dtype"]))
    capturing = Capture(
        getattr(pipeline, component),
        out,
        layers=layers,
        steps=steps,
        heads=heads,
        forwards_per_step=options["forwards_per_step"],
    )
    device = options["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
    if options["offload"]:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
    sizes = {"num_frames": options["frames"], "height": options["height"], "width": options["width"]}

    def stop_when_done(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipeline._interrupt = not capturing.missing  # diffusers' way to skip the steps to come
        return tensors

    with capturing:
        pipeline(
            prompt=prompt,
            num_inference_steps=count,
            generator=torch.Generator().manual_seed(options["seed"]),
            callback_on_step_end=stop_when_done,
            output_type="latent",
            **{name: size for name, size in sizes.items() if size is not None},
        )
    for path in capturing.files:
        click.echo(path)


def main() -> None:
    """Run the command. `scripts.cli` has the same, but it imports the simulator, which those who capture need not have.

    RuntimeError and AssertionError are how PyTorch says that memory or a device is missing.
    """
    try:
        capture.main(standalone_mode=False)
        return
    except click.ClickException as error:
        message = error.format_message()
    except (ValueError, OSError, ImportError, RuntimeError, AssertionError) as error:
        message = str(error)
    except (click.Abort, KeyboardInterrupt):
        message = "interrupted"
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
