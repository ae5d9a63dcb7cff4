"""The layers: golden <- rtl <- sim <- scripts. No arithmetic is shared between golden and rtl."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("golden", "rtl", "sim", "scripts")
ALLOWED = {
    "golden": ("golden",),
    # Parameters, formats, the contents of tables, and the order of what is done, which has no arithmetic of data;
    # everything else golden and rtl write down twice.
    "rtl": ("rtl", "golden.config", "golden.control", "golden.formats", "golden.tables", "golden.__version__"),
    "sim": ("sim", "rtl", "golden"),
    "scripts": ("scripts", "sim", "rtl", "golden"),
}
FILES = [path for package in OURS for path in sorted((ROOT / package).rglob("*.py"))]


def imported(source: str) -> set[str]:
    """Everything of ours that a module imports, with the names taken from a package."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their layer"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" if module in OURS else module for alias in node.names}
    return {name for name in found if name.split(".")[0] in OURS}


def violations(package: str, source: str) -> set[str]:
    """What a module of the package must not import."""
    return {
        name
        for name in imported(source)
        if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[package])
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_layers_below(path: Path) -> None:
    assert not violations(path.relative_to(ROOT).parts[0], path.read_text())


@pytest.mark.parametrize(
    ("package", "source", "wrong"),
    [
        ("golden", "from rtl.align import Align", "rtl.align"),
        ("rtl", "from golden.align import align", "golden.align"),
        ("rtl", "from golden import softmax", "golden.softmax"),
        ("rtl", "import golden.score", "golden.score"),
        ("sim", "import scripts.demo", "scripts.demo"),
    ],
)
def test_a_wrong_import_is_found(package: str, source: str, wrong: str) -> None:
    assert violations(package, source) == {wrong}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_concept(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 310


def test_rtl_and_golden_have_the_same_names() -> None:
    golden = {path.stem for path in (ROOT / "golden").glob("*.py")}
    for name in ("align", "multiplier", "arbiter", "score", "softmax", "accumulate", "normalise", "digits"):
        assert name in golden
        assert (ROOT / "rtl" / f"{name}.py").exists()
