"""The capture command on a whole pipeline of diffusers, tiny and with random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from golden.traces import load
from scripts.capture import main

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
diffusers: Any = pytest.importorskip("diffusers")

HEAD_DIM, TEXT = 16, 226
"""TEXT is what the pipeline pads a prompt to; the model does not mask the padding."""

pytestmark = pytest.mark.filterwarnings("default")  # those of PyTorch and diffusers are not ours


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CogVideoX pipeline in a folder, of random weights and a vocabulary of two words."""
    torch.manual_seed(0)
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁street", -1.0)]
    encoder = transformers.T5Config(vocab_size=len(words), d_model=12, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    vae = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8,) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
    )
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=3,
        attention_head_dim=HEAD_DIM,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=12,
        num_layers=3,
        use_rotary_positional_embeddings=True,
    )
    folder = tmp_path_factory.mktemp("model")
    diffusers.CogVideoXPipeline(
        tokenizer=transformers.T5Tokenizer(vocab=words, extra_ids=0),
        text_encoder=transformers.T5EncoderModel(encoder),
        vae=vae,
        transformer=transformer,
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    ).save_pretrained(folder)
    return folder


def command(monkeypatch: pytest.MonkeyPatch, model: Path, out: Path, **changes: str) -> None:
    options = {"prompt": "a street", "layers": "0,2", "steps": "1,2", "heads": "1", "inference-steps": "5"}
    options |= {"frames": "9", "height": "64", "width": "96", "device": "cpu", "out": str(out)} | changes
    monkeypatch.setattr(sys, "argv", ["capture", str(model), *(f"--{name}={text}" for name, text in options.items())])
    main()


def test_the_command_captures_from_a_pipeline(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, pipeline, tmp_path / "out")
    paths = [tmp_path / "out" / f"cogvideox_s{step}_l{layer}.npz" for step in (1, 2) for layer in (0, 2)]
    done = capsys.readouterr()
    assert done.out.split() == [str(path) for path in paths]
    assert "4/5" not in done.err, "the steps after the last one chosen are skipped"
    for path in paths:
        (head,) = load(path)
        assert (head.grid, head.text_tokens, head.q.shape) == ((3, 4, 6), TEXT, (3 * 4 * 6 + TEXT, HEAD_DIM))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": "1,3"}, "layer 3: must be in 0..2"),
        ({"steps": "5"}, "step 5: must be in 0..4"),
        ({"heads": "3"}, "head 3: must be in 0..2"),
        ({"component": "vae"}, "model class AutoencoderKLCogVideoX: must be one of CogVideoXTransformer3DModel, "),
        ({"component": "transformer_2"}, "model class None: must be one of CogVideoXTransformer3DModel, "),
        ({"device": "abacus"}, "abacus"),
        ({"forwards-per-step": "5"}, "nothing captured, after 5 calls of the transformer, 5 a step"),
    ],
)
def test_what_is_wrong_is_one_line(
    pipeline: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, pipeline, tmp_path / "out", **changes)
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert list(tmp_path.glob("out/*")) == []


def test_the_class_is_looked_at_before_weights_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index = {"_class_name": "StableDiffusion3Pipeline", "transformer": ["diffusers", "SD3Transformer2DModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(SystemExit):
        command(monkeypatch, tmp_path, tmp_path / "out")
    assert "model class SD3Transformer2DModel: must be one of" in capsys.readouterr().err
