"""`python -m scripts.video SAMPLER`: what the attention does to finished videos, in decibels against the dense one.

SAMPLER is a script that generates a video [1, 4096, 192] of 16 frames of 16 x 16 patches of 8 x 8 RGB pixels:

    SAMPLER --clip N --seed N --steps N --out video.npy [--attention module:function]

It runs once for every clip, seed and rule, with scripts.torch_attention. Videos that exist are kept, so that a run
that was interrupted goes on: their names hold what they depend on, down to the code. Needs neither the simulator nor
the generator, only NumPy, click, rich and Matplotlib, and what the sampler needs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from golden import __version__
from golden.config import Config
from golden.presets import DEFAULT_PRESET, PRESETS, preset
from rtl.files import write_text

ROOT = Path(__file__).parents[1]
SHAPE = (1, 4096, 192)
REUSE_DISTANCE = 0.24
PACKAGES = ("torch", "numpy", "matplotlib")
GOLDEN = ("config", "group", "parameters", "presets", "tables", "tiles")
CODE = ("scripts/torch_*.py", *(f"golden/{name}.py" for name in GOLDEN))
"""What the attention is made of."""

console = Console(highlight=False, soft_wrap=True)


class SamplerFailed(Exception):
    """The sampler did not make a video."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """An attention to make videos with."""

    name: str
    label: str
    variables: dict[str, str] | None
    """SIMPICKER_* for scripts.torch_attention; none for the sampler's own attention"""


def rules(name: str, config: Config) -> list[Rule]:
    """The rules to compare, dense first. `name` is that of the preset or of a file.

    Keeping a share s takes 2 * s passes where the rest is dropped, and 1 + s where it is LUT4.
    """
    shares = {"drop": config.top_share, "drop_equal_passes": (1 + config.top_share) / 2}
    labels = {"drop": "", "drop_equal_passes": " (as many passes as SIMPICKER)"}
    base = {"SIMPICKER_PRESET": name, "SIMPICKER_GRID": "16,16,16"}
    return [
        Rule("dense", "dense", None),
        Rule("simpicker", "SIMPICKER", base),
        Rule("simpicker_reuse", "SIMPICKER, rows reused", base | {"SIMPICKER_REUSE_DISTANCE": str(REUSE_DISTANCE)}),
        *(
            Rule(
                rule,
                f"{100 * share:.4g} % kept, the rest dropped{labels[rule]}",
                base | {"SIMPICKER_RULE": "drop", "SIMPICKER_TOP_SHARE": str(share)},
            )
            for rule, share in shares.items()
        ),
    ]


def psnr(video: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """Decibels of values in -1..1, to which both are clamped; 126 for equal videos."""
    error = np.clip(video, -1, 1).astype(np.float64) - np.clip(reference, -1, 1)
    return float(10 * np.log10(4 / max(np.mean(error**2), 1e-12)))


def read(path: Path) -> NDArray[np.float32]:
    """A video that a sampler wrote; ValueError says what is wrong with it."""
    try:
        video = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a readable .npy file ({error})") from None
    if video.shape != SHAPE or video.dtype.kind != "f":
        raise ValueError(f"{path}: {video.dtype} of shape {video.shape}: must be floats of shape {SHAPE}")
    if not np.isfinite(video).all():
        raise ValueError(f"{path}: the video holds an infinity or a NaN")
    return video


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A sampler, and the folder of its videos."""

    script: Path
    folder: Path
    steps: int

    def path(self, clip: int, seed: int, rule: Rule, config: Config) -> Path:
        """Where a video is: its name tells videos of other parameters, configurations and code apart."""
        sources = sorted(self.script.parent.glob("*.py"))
        if rule.variables is not None:
            sources += sorted(path for pattern in CODE for path in ROOT.glob(pattern))
        known = [path.read_bytes() for path in sources] + [json.dumps(rule.variables).encode()]
        known += [config.hash.encode()] if rule.variables is not None else []
        mark = hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in known)).hexdigest()[:8]
        return self.folder / f"clip{clip}_seed{seed}_steps{self.steps}_{rule.name}_{mark}.npy"

    def make(self, clip: int, seed: int, rule: Rule, config: Config) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """A video, and how long it took on what; made only where there is none yet."""
        path = self.path(clip, seed, rule, config)
        if path.exists():
            return read(path), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".video") as scratch:
            part = Path(scratch, "video.npy")
            start = time.perf_counter()
            made = self._run(part, clip, seed, rule)
            facts = {"seconds": round(time.perf_counter() - start, 1), "device": device()}
            write_text(path.with_suffix(".json"), json.dumps(facts) + "\n")
            part.replace(path)
        return made, facts

    def _run(self, out: Path, clip: int, seed: int, rule: Rule) -> NDArray[np.float32]:
        command = [sys.executable, str(self.script), "--out", str(out), "--clip", str(clip), "--seed", str(seed)]
        command += ["--steps", str(self.steps)]
        environment = {name: text for name, text in os.environ.items() if not name.startswith("SIMPICKER_")}
        if rule.variables is not None:
            command += ["--attention", "scripts.torch_attention:attention"]
            paths = [str(ROOT), environment.get("PYTHONPATH", "")]
            environment |= rule.variables | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        what = f"{self.script.name}, clip {clip}, seed {seed}, {rule.name}"
        if done.returncode:
            hint = ": pip install torch" if lines and "No module named 'torch'" in lines[-1] else ""
            raise SamplerFailed(f"{what}: exit code {done.returncode}, {lines[-1] if lines else 'no message'}{hint}")
        if not out.exists():
            raise SamplerFailed(f"{what}: it ended well, but wrote no --out")
        try:
            return read(out)
        except ValueError as error:
            raise SamplerFailed(f"{what}: {str(error).removeprefix(f'{out}: ')}") from None


def device() -> str:
    """What a sampler that uses PyTorch runs on."""
    try:
        cuda = importlib.import_module("torch").cuda
        return cuda.get_device_name() if cuda.is_available() else platform.machine()
    except ImportError:
        return platform.machine()


def versions() -> dict[str, str]:
    """Versions of what matters to the videos; what is not installed is left out."""
    found = {"simpicker": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def table(runs: Sequence[dict[str, Any]], compared: Sequence[Rule]) -> Table:
    """Decibels of every clip and seed, a column each, and their mean."""
    videos = list(dict.fromkeys((run["clip"], run["seed"]) for run in runs))
    shown = Table("rule", *(f"clip {clip}, seed {seed}" for clip, seed in videos), "mean, dB", "seconds a video")
    for rule in compared:
        here = [run for run in runs if run["rule"] == rule.name]
        values = [run["psnr"] for run in here]
        cells = ["" if value is None else f"{value:.1f}" for value in values]
        mean = "" if None in values else f"{np.mean(values):.1f}"
        shown.add_row(rule.label, *cells, mean, f"{np.mean([run['seconds'] for run in here]):.1f}")
    return shown


def numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    """The numbers of an option, with commas between them."""
    try:
        found = [int(part) for part in value.split(",")]
    except ValueError:
        found = [-1]
    if min(found) < 0:
        raise click.BadParameter(f"{value!r}: must be numbers, at least 0, such as 0,1", context, parameter)
    return list(dict.fromkeys(found))


@click.command()
@click.argument("script", metavar="SAMPLER", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--clips", default="6,2", show_default=True, callback=numbers, help="The first is in the picture.")
@click.option("--seeds", default="0,1", show_default=True, callback=numbers)
@click.option("--steps", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="build/video", show_default=True)
@click.option(
    "--preset", "name", default=DEFAULT_PRESET, show_default=True, help=f"One of {', '.join(PRESETS)}, or a file."
)
def video(script: Path, clips: list[int], seeds: list[int], steps: int, out: Path, name: str) -> None:
    """Make videos with SAMPLER by several rules, and compare them: video.json, video.png and a table."""
    picture = importlib.import_module("scripts.video_picture")  # before hours of work: Matplotlib may be missing
    config = preset(name)
    compared = rules(str(Path(name).resolve()) if name.endswith(".json") else name, config)
    sampler = Sampler(script.resolve(), out, steps)
    jobs = [(clip, seed, rule) for clip in clips for seed in seeds for rule in compared]
    runs: list[dict[str, Any]] = []
    shown: dict[str, tuple[str, NDArray[np.float32]]] = {}
    dense = np.zeros(SHAPE, np.float32)
    with Progress(console=console) as progress:
        task = progress.add_task("", total=len(jobs))
        for clip, seed, rule in jobs:
            progress.update(task, description=f"clip {clip}, seed {seed}, {rule.name}")
            made, facts = sampler.make(clip, seed, rule, config)
            dense = made if rule.variables is None else dense
            decibels = None if rule.variables is None else psnr(made, dense)
            runs.append({"clip": clip, "seed": seed, "rule": rule.name, "psnr": decibels, **facts})
            if (clip, seed) == (clips[0], seeds[0]):
                shown[rule.name] = (rule.label if decibels is None else f"{rule.label}: {decibels:.1f} dB", made)
            result = "" if decibels is None else f"{decibels:.1f} dB, "
            progress.console.print(f"clip {clip}, seed {seed}, {rule.name}: {result}{facts['seconds']:.1f} s")
            progress.advance(task)
    document = {
        "verb": "video",
        "preset": Path(name).stem,
        "config_hash": config.hash,
        "config": dataclasses.asdict(config),
        "versions": versions(),
        "sampler": script.name,
        "steps": steps,
        "rules": {rule.name: {"label": rule.label, "variables": rule.variables} for rule in compared},
        "runs": runs,
    }
    picture.draw_videos([shown[rule] for rule in ("dense", "simpicker", "drop")], out / "video.png")
    write_text(out / "video.json", json.dumps(document, indent=2) + "\n")
    console.print(table(runs, compared))
    console.print(f"{out / 'video.json'}, {out / 'video.png'}")


def main() -> None:
    """Run the command. `scripts.cli` has the same, but it imports the simulator, which a GPU machine need not have."""
    try:
        video.main(standalone_mode=False)
        return
    except click.ClickException as error:
        message, code = error.format_message(), 2
    except (ValueError, OSError, ImportError) as error:
        message, code = str(error), 2
    except SamplerFailed as error:
        message, code = str(error), 1
    except (click.Abort, KeyboardInterrupt):
        message, code = "interrupted", 1
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
