"""Shared by the tests of synthesis: a small library of standard cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.cell_library import Library
from scripts.liberty import read


@pytest.fixture(scope="session")
def library() -> Library:
    """Cells whose figures can be computed by hand."""
    return read(Path(__file__).with_name("mini.lib"))
