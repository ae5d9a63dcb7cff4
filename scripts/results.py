"""Result files: the figures of a verb, with all that is needed to make them again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from golden import __version__
from golden.config import Config
from rtl.files import write_text
from sim.tools import versions

BUILD = Path("build")


def folder(name: str) -> Path:
    """Where everything of a preset goes."""
    return BUILD / name


def write_results(verb: str, name: str, config: Config, figures: dict[str, Any]) -> Path:
    """Writes build/<preset>/<verb>.json and returns its path.

    Beside the figures it holds `verb`, `preset`, `config_hash`, `config` and `versions`.
    """
    document = {
        "verb": verb,
        "preset": name,
        "config_hash": config.hash,
        "config": dataclasses.asdict(config),
        "versions": {"simpicker": __version__, **versions()},
        **figures,
    }
    path = folder(name) / f"{verb}.json"
    write_text(path, json.dumps(document, indent=2) + "\n")
    return path
