"""Captured traces against the real transformer classes of diffusers, tiny and with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.oracle import attend
from golden.traces import load
from scripts.capture import Capture

torch: Any = pytest.importorskip("torch")
diffusers: Any = pytest.importorskip("diffusers")

HEADS, HEAD_DIM, TEXT = 3, 16, 5
SIZES = {"num_attention_heads": HEADS, "attention_head_dim": HEAD_DIM, "in_channels": 4, "out_channels": 4}
Inputs = Callable[[int], dict[str, Any]]


def cogvideox(patch_size_t: int | None = None) -> tuple[Any, Inputs, tuple[int, int, int]]:
    """Model, inputs of a batch, and grid; with patches in time it is CogVideoX 1.5."""
    model = diffusers.CogVideoXTransformer3DModel(
        **SIZES, time_embed_dim=8, text_embed_dim=12, num_layers=3, sample_width=12, sample_height=8, sample_frames=13,
        max_text_seq_length=TEXT, use_rotary_positional_embeddings=True, patch_size_t=patch_size_t,
    )  # fmt: skip
    grid = (4 // (patch_size_t or 1), 4, 6)

    def inputs(batch: int) -> dict[str, Any]:
        angles = torch.rand(int(np.prod(grid)), HEAD_DIM) * 6
        return {
            "hidden_states": torch.randn(batch, 4, 4, 8, 12),
            "encoder_hidden_states": torch.randn(batch, TEXT, 12),
            "timestep": torch.full((batch,), 500),
            "image_rotary_emb": (angles.cos(), angles.sin()),
        }

    return model, inputs, grid


def hunyuanvideo() -> tuple[Any, Inputs, tuple[int, int, int]]:
    """Model, inputs and grid. The last of a batch has two tokens of padding, the others one more each."""
    model = diffusers.HunyuanVideoTransformer3DModel(
        **SIZES, num_layers=2, num_single_layers=2, num_refiner_layers=1, guidance_embeds=False, text_embed_dim=12,
        pooled_projection_dim=8, rope_axes_dim=(4, 6, 6),
    )  # fmt: skip

    def inputs(batch: int) -> dict[str, Any]:
        lengths = torch.arange(TEXT - 1 - batch, TEXT - 1)
        return {
            "hidden_states": torch.randn(batch, 4, 3, 8, 6),
            "encoder_hidden_states": torch.randn(batch, TEXT, 12),
            "timestep": torch.full((batch,), 500),
            "encoder_attention_mask": (torch.arange(TEXT) < lengths[:, None]).long(),
            "pooled_projections": torch.randn(batch, 8),
        }

    return model, inputs, (3, 4, 3)


def wan() -> tuple[Any, Inputs, tuple[int, int, int]]:
    """Model, inputs and grid."""
    model = diffusers.WanTransformer3DModel(**SIZES, text_dim=12, freq_dim=16, ffn_dim=32, num_layers=3)

    def inputs(batch: int) -> dict[str, Any]:
        return {
            "hidden_states": torch.randn(batch, 4, 2, 10, 8),
            "encoder_hidden_states": torch.randn(batch, TEXT, 12),
            "timestep": torch.full((batch,), 500),
        }

    return model, inputs, (2, 5, 4)


CASES = {
    "cogvideox": (cogvideox, TEXT),
    "cogvideox 1.5": (lambda: cogvideox(2), TEXT),
    "hunyuanvideo": (hunyuanvideo, TEXT - 2),
    "wan": (wan, 0),
}
"""What makes model, inputs and grid, and the text tokens that are not padding, of the last of a batch."""

pytestmark = pytest.mark.filterwarnings("default")  # those of PyTorch and diffusers are not ours


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Any, Inputs, tuple[int, int, int], int]:
    torch.manual_seed(0)
    make, text = CASES[request.param]
    model, inputs, grid = make()
    return model.eval(), inputs, grid, text


def forward(model: Any, inputs: dict[str, Any]) -> Any:
    with torch.no_grad():
        return model(**inputs, return_dict=False)[0]


def modules(model: Any) -> list[Any]:
    """The self-attention of every layer, as named_modules has them: independent of the capture's own table."""
    return [
        module
        for name, module in model.named_modules()
        if name.endswith((".attn1", ".attn")) and "context_embedder" not in name
    ]


def attention_outputs(model: Any, run: Callable[[], Any]) -> list[Any]:
    """Of every layer what softmax(...) @ v gave, [batch, text then video, heads * head_dim], by hooks behind it."""
    outputs: list[Any] = []
    handles = []
    for attention in modules(model):
        parts: dict[str, Any] = {}
        outputs.append(parts)

        def keep(part: str, parts: dict[str, Any] = parts) -> Callable[..., None]:
            return lambda module, inputs: parts.update({part: inputs[0]})

        if getattr(attention, "to_out", None) is not None:
            handles.append(attention.to_out[0].register_forward_pre_hook(keep("video")))
            if getattr(attention, "to_add_out", None) is not None:
                handles.append(attention.to_add_out.register_forward_pre_hook(keep("text")))
        else:  # HunyuanVideo's single-stream blocks project later, together with the MLP

            def both(module: Any, inputs: Any, output: Any, parts: dict[str, Any] = parts) -> None:
                parts.update(video=output[0], text=output[1])

            handles.append(attention.register_forward_hook(both))
    run()
    for handle in handles:
        handle.remove()
    return [torch.cat([parts["text"], parts["video"]], 1) if "text" in parts else parts["video"] for parts in outputs]


def test_traces_are_what_the_model_attends_with(case: Any, tmp_path: Path) -> None:
    model, inputs, grid, text = case
    layers = range(len(modules(model)))
    given = inputs(2)
    with Capture(model, tmp_path, layers=layers, steps=[0]) as capture:
        outputs = attention_outputs(model, lambda: forward(model, given))
    assert len(capture.files) == len(layers)
    for path, output in zip(capture.files, outputs, strict=True):
        padding = output.shape[1] - text - int(np.prod(grid))
        expected = output[-1].unflatten(-1, (HEADS, HEAD_DIM)).transpose(0, 1).numpy()
        expected = np.delete(expected, np.s_[text : text + padding], axis=1)
        heads = load(path)
        assert len(heads) == HEADS
        for head, wanted in zip(heads, expected, strict=True):
            assert (head.grid, head.text_tokens) == (grid, text)
            np.testing.assert_allclose(attend(head), wanted, rtol=1e-4, atol=1e-5)


def test_the_model_computes_what_it_does_without_and_is_left_as_it_was(case: Any, tmp_path: Path) -> None:
    model, inputs, _, _ = case
    given = inputs(2)
    before, processors = forward(model, given), dict(model.attn_processors)
    with Capture(model, tmp_path, layers=[0, 2], steps=[0]):
        during = forward(model, given)
    assert torch.equal(before, during)
    assert torch.equal(before, forward(model, given))
    assert model.attn_processors == processors
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_an_error_of_the_pipeline_passes_and_the_hooks_go(case: Any, tmp_path: Path) -> None:
    model, _, _, _ = case
    with pytest.raises(ZeroDivisionError), Capture(model, tmp_path, layers=[0], steps=[0]):
        _ = 1 / 0
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert list(tmp_path.iterdir()) == []


def test_steps_layers_heads_and_calls_are_chosen(case: Any, tmp_path: Path) -> None:
    model, inputs, _, _ = case
    calls = [inputs(1) for _ in range(6)]
    with Capture(model, tmp_path / "some", layers=[2, 0], steps=[1, 2], heads=[2, 1], forwards_per_step=2) as capture:
        for given in calls:
            forward(model, given)
    stem = capture.model.name
    assert {path.name for path in capture.files} == {
        f"{stem}_s{step}_l{layer}.npz" for step in (1, 2) for layer in (0, 2)
    }
    assert sorted(capture.files) == sorted((tmp_path / "some").iterdir())
    with Capture(model, tmp_path / "all", layers=[2], steps=range(6), forwards_per_step=1):
        for given in calls:
            forward(model, given)
    for step in (1, 2):  # the first call of a step is taken
        some, every = (
            dict(np.load(tmp_path / folder / f"{stem}_s{index}_l2.npz"))
            for folder, index in (("some", step), ("all", 2 * step))
        )
        assert some["heads"].tolist() == [1, 2]
        for name in "qkv":
            np.testing.assert_array_equal(some[name], every[name][1:])


def test_one_of_a_batch_is_chosen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, inputs, grid = hunyuanvideo()
    given = inputs(2)
    for batch in (0, 1, -1):
        with Capture(model, tmp_path / str(batch), layers=[3], steps=[0], batch=batch):
            forward(model, given)
    first, second, last = (load(tmp_path / batch / "hunyuanvideo_s0_l3.npz")[0] for batch in ("0", "1", "-1"))
    assert [len(head.q) - int(np.prod(grid)) for head in (first, second, last)] == [TEXT - 3, TEXT - 2, TEXT - 2]
    np.testing.assert_array_equal(second.k, last.k)
    with (
        pytest.raises(ValueError, match="hunyuanvideo_s0_l3: batch = 2: the model computes 2 at once"),
        Capture(model, tmp_path / "2", layers=[3], steps=[0], batch=2),
    ):
        forward(model, given)
    assert list((tmp_path / "2").iterdir()) == []


def test_only_the_self_attention_of_wan_is_taken(tmp_path: Path) -> None:
    model, inputs, _ = wan()
    given = inputs(1)
    with Capture(model, tmp_path, layers=[0], steps=[0]) as capture:
        forward(model, given)
        forward(model, inputs(1))  # without the prompt
        given["encoder_hidden_states"] = given["encoder_hidden_states"] + 1
    before = dict(np.load(capture.files[0]))
    with Capture(model, tmp_path, layers=[0], steps=[0]):
        forward(model, given)
    after = dict(np.load(capture.files[0]))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_bfloat16_is_kept_bit_for_bit(tmp_path: Path) -> None:
    model, inputs, _ = wan()
    model = model.to(torch.bfloat16)
    given = {n: t.to(torch.bfloat16) if t.is_floating_point() else t for n, t in inputs(1).items()}
    values: list[Any] = []
    handle = modules(model)[1].to_v.register_forward_hook(lambda module, inputs, output: values.append(output))
    with Capture(model, tmp_path, layers=[1], steps=[0]) as capture:
        forward(model, given)
    handle.remove()
    v = values[0][0].unflatten(-1, (HEADS, HEAD_DIM)).transpose(0, 1).float().numpy()
    assert np.load(capture.files[0])["v"].dtype.itemsize == 2
    np.testing.assert_array_equal(np.stack([head.v for head in load(capture.files[0])]), v)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([7], r"nothing captured, after 2 calls of the transformer, 1 a step: no cogvideox_s7_l0\.npz"),
        ([1, 7], r"not everything captured, .*: no cogvideox_s7_l0\.npz"),
    ],
)
def test_what_never_came_is_said(steps: list[int], message: str, tmp_path: Path) -> None:
    model, inputs, _ = cogvideox()
    with pytest.raises(ValueError, match=message), Capture(model, tmp_path, layers=[0], steps=steps):
        for _ in range(2):
            forward(model, inputs(1))


def test_not_finite_tensors_are_refused(tmp_path: Path) -> None:
    model, inputs, _ = wan()
    modules(model)[0].to_k.bias.data[HEAD_DIM] = float("inf")
    with (
        pytest.raises(ValueError, match="wan_s0_l0: k is nan at head 1, token 0, channel 0: must be finite"),
        Capture(model, tmp_path, layers=[0], steps=[0]),
    ):
        forward(model, inputs(1))
    assert list(tmp_path.iterdir()) == []


def test_another_attention_function_is_named(tmp_path: Path) -> None:
    model, inputs, _ = wan()

    def other(attention: Any, states: Any, *_: Any, **__: Any) -> Any:
        return states

    modules(model)[1].processor = other
    with (
        pytest.raises(ValueError, match="wan_s0_l1: its attention did not call scaled_dot_product_attention"),
        Capture(model, tmp_path, layers=[1], steps=[0]),
    ):
        forward(model, inputs(1))


def test_masks_and_scales_that_a_trace_cannot_say_are_refused(tmp_path: Path) -> None:
    model, inputs, _ = wan()
    attend_with: dict[str, Any] = {}

    def processor(attention: Any, states: Any, *_: Any, **__: Any) -> Any:
        q = states.unflatten(2, (HEADS, -1)).transpose(1, 2)
        return torch.nn.functional.scaled_dot_product_attention(q, q, q, **attend_with).transpose(1, 2).flatten(2)

    modules(model)[0].processor = processor
    tokens = 2 * 5 * 4
    for wrong, message in (
        ({"scale": 1.0}, "causal, grouped, with dropout or a scale"),
        ({"enable_gqa": True}, "causal, grouped, with dropout or a scale"),
        ({"is_causal": True}, "causal, grouped, with dropout or a scale"),
        ({"attn_mask": torch.ones(tokens, tokens, dtype=torch.bool)}, "a mask .*40, 40.* of torch.bool"),
        ({"attn_mask": torch.zeros(1, 1, 1, tokens)}, "a mask .* of torch.float32"),
        ({"attn_mask": torch.arange(tokens)[None, None, None] > 0}, "video tokens are masked"),
    ):
        attend_with = wrong
        with pytest.raises(ValueError, match=message), Capture(model, tmp_path, layers=[0], steps=[0]):
            forward(model, inputs(1))
    assert list(tmp_path.iterdir()) == []
    attend_with = {"scale": HEAD_DIM**-0.5}
    with Capture(model, tmp_path, layers=[0], steps=[0]):
        forward(model, inputs(1))
