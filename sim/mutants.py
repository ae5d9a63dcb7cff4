"""Broken designs: copies of the RTL with one place changed, to see that whatever checks a design notices."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import rtl


@dataclasses.dataclass(frozen=True)
class Edit:
    """In rtl/<file>.py the one occurrence of `source` is replaced."""

    file: str
    source: str
    replacement: str

    def apply(self, folder: Path) -> None:
        """Change the copy in `folder`; ValueError unless `source` stands there once."""
        path = folder / "rtl" / f"{self.file}.py"
        text = path.read_text()
        if (count := text.count(self.source)) != 1:
            raise ValueError(f"rtl/{self.file}.py has {self.source!r} {count} times: must be once")
        path.write_text(text.replace(self.source, self.replacement))


def copy_design(folder: Path, edit: Edit | None = None) -> None:
    """Put a copy of the RTL into `folder`, which then comes first on the path of whoever is to see it."""
    shutil.copytree(rtl.__path__[0], folder / "rtl", ignore=shutil.ignore_patterns("__pycache__"))
    if edit:
        edit.apply(folder)
