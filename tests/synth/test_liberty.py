"""Reading Liberty files, and fetching the one that is used if none is given."""

from __future__ import annotations

import hashlib
import io
import itertools
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import default_library
from scripts.cell_library import Library
from scripts.liberty import read
from scripts.liberty_syntax import function
from sim.tools import ToolMissing

MINI = Path(__file__).with_name("mini.lib")


def written(folder: Path, text: str) -> Path:
    """A library file of this text."""
    path = folder / "other.lib"
    path.write_text(text)
    return path


def without(text: str, *names: str) -> str:
    """The text of a library without some of its cells."""
    for name in names:
        start = text.index(f"\n  cell ({name}) {{")
        text = text[:start] + text[text.index("\n  }\n", start) + 5 :]
    return text


def test_figures_are_in_our_units(library: Library) -> None:
    nand = library.cells["NAND2"]
    assert (library.name, library.voltage, nand.area, nand.leakage) == ("mini", 1.0, 1.5, 1.0)
    assert nand.pins["A"].capacitance == 2.0
    assert nand.pins["Y"].max_capacitance == 60.0
    assert nand.inputs == ["A", "B"]
    for arc in nand.pins["Y"].arcs:
        assert arc.rise and arc.fall and arc.rise_slew and nand.pins["Y"].energy
        for slew, load in itertools.product((0.0, 0.01, 0.05, 0.3), (0.0, 5.0, 21.0, 100.0)):
            assert arc.rise.at(slew, load) == pytest.approx(0.014 + slew / 10 + load / 1000)
            assert arc.fall.at(slew, load) == pytest.approx(0.012 + slew / 10 + load / 1000)
            assert arc.rise_slew.at(slew, load) == pytest.approx(0.010 + load / 500)
            assert nand.pins["Y"].energy.at(slew, load) == pytest.approx(1.5)
    assert library.cells["DFF"].setup == pytest.approx(0.03)


def test_units_and_the_order_of_axes_are_the_files(library: Library, tmp_path: Path) -> None:
    text = MINI.read_text().replace('time_unit : "1ns"', 'time_unit : "10ps"').replace("(1,ff)", "(0.1,pf)")
    swapped = text.replace("variable_1 : input_net_transition", "variable_1 : total_output_net_capacitance")
    swapped = swapped.replace("variable_2 : total_output_net_capacitance", "variable_2 : input_net_transition", 1)
    ours, other = (cell.cells["INV"].pins["Y"].arcs[0].rise for cell in (library, read(written(tmp_path, text))))
    turned = read(written(tmp_path, swapped)).cells["INV"].pins["Y"].arcs[0].rise
    assert ours and other and turned
    assert other.at(0.001, 500.0) == pytest.approx(ours.at(0.1, 5.0) / 100)
    # What was the axis of slews, from 0.01 to 0.11, is now that of loads.
    assert turned.at(0.05, 2.0) == pytest.approx(other.at(0.0002, 500.0))


def test_cells_are_found_by_what_they_compute(tmp_path: Path) -> None:
    text = MINI.read_text()
    for n, name in enumerate(("INV", "BUF", "HA", "FA", "DFF")):
        text = text.replace(f"cell ({name})", f"cell (X{n})")
    library = read(written(tmp_path, text))
    full, half = library.full_adder, library.half_adder
    assert full and half and library.flip_flop
    assert (library.inverter.name, [cell.name for cell in library.buffers]) == ("X0", ["X1"])
    assert (half.cell.name, set(half.inputs), half.sum, half.carry) == ("X2", {"A", "B"}, "S", "CO")
    assert (full.cell.name, set(full.inputs), full.sum, full.carry) == ("X3", {"A", "B", "CI"}, "S", "CO")
    assert (library.flip_flop.name, library.flip_flop.clock, library.flip_flop.falling) == ("X4", "CK", False)
    lesser = read(written(tmp_path, without(text, "X2", "X3", "X4")))
    assert lesser.full_adder is lesser.half_adder is lesser.flip_flop is None


def test_a_truncated_library_is_an_error_wherever_it_ends(tmp_path: Path) -> None:
    text = MINI.read_text()
    for end in range(0, len(text.rstrip()), 211):
        with pytest.raises(ValueError, match=r"other\.lib"):
            read(written(tmp_path, text[:end]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("area : 1;", "area : small;", r"other\.lib, line \d+: cell INV: area must be numbers, not 'small'"),
        ("area : 1;", "", "cell INV: area must be one number"),
        ('"!A"', '"!A &"', "pin Y: function is not a Boolean function: '!A &'"),
        ("direction : output;", "", "pin Y: direction must be"),
        (
            '("0.012, 0.032", "0.022, 0.042")',
            '("0.012, 0.032", "0.022")',
            "cell_rise delay: there must be 2 x 2 values",
        ),
        ('time_unit : "1ns"', 'time_unit : "1 fortnight"', "library mini: '1 fortnight' is not a unit"),
        ("    area : 1;", "    area ? 1;", r"line \d+: not Liberty: 'area \? 1;'"),
        ("library (mini)", "fibrary (mini)", "must have one group, library"),
    ],
)
def test_an_odd_library_is_an_error_in_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MINI.read_text()
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path, MINI.read_text().replace(old, new, 1)))


def test_a_missing_library_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.lib: No such file"):
        read(tmp_path / "nowhere.lib")


OPERATORS: dict[str, tuple[int, tuple[str, ...], Callable[[int, int], int]]] = {
    "xor": (3, (" ^ ", "^"), lambda a, b: a ^ b),
    "and": (2, ("&", " * ", " "), lambda a, b: a & b),
    "or": (1, ("|", " + "), lambda a, b: a | b),
}
"""How tightly they bind, how they are written, and what they compute."""


def test_functions_are_what_liberty_says() -> None:
    operands = ("A", "!A", "A'", "(!A)'"), ("B", "!B", "B'"), ("C1", "(C1)'")
    inverted = (False, True, True, False), (False, True, True), (False, True)
    for (x, y, z), (s, t) in itertools.product(
        itertools.product(*map(range, map(len, operands))), itertools.product(OPERATORS.values(), repeat=2)
    ):
        a, b, c = (operands[k][n] for k, n in enumerate((x, y, z)))
        p, q, r = (inverted[k][n] for k, n in enumerate((x, y, z)))
        for first, second in itertools.product(s[1], t[1]):
            f = function(f"{a}{first}{b}{second}{c}")
            left_first = s[0] >= t[0]
            for bits in itertools.product((0, 1), repeat=3):
                i, j, k = (bit ^ inverse for bit, inverse in zip(bits, (p, q, r), strict=True))
                expected = t[2](s[2](i, j), k) if left_first else s[2](i, t[2](j, k))
                assert f.operate(*bits) & 1 == expected, (a, first, b, second, c, bits)
    assert function("(A B) + (D[0] (A + B))").inputs == ("A", "B", "D[0]")
    assert [function(text).operate() & 1 for text in ("0", "1", "!(1)", "0'")] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "text", ["", "A +", "& A", "(A", "A)", "A # B", "()", "!", "'A", "A ^ ^ B", "2", "__import__('os')"]
)
def test_anything_else_is_no_function(text: str) -> None:
    with pytest.raises(ValueError, match="not a Boolean function"):
        function(text)


# The default library


def package(files: dict[str, bytes]) -> bytes:
    """A package of Debian's with these files: an archive of ar, with a compressed archive of tar in it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f".{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.getvalue()}
    return b"!<arch>\n" + b"".join(
        f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
        for name, content in members.items()
    )


@pytest.fixture
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No library is installed, and apt is not either; the folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(default_library, "INSTALLED", Path("/nowhere/osu018.lib"))
    monkeypatch.setattr(default_library.shutil, "which", lambda name: None)
    return tmp_path


def test_the_default_is_fetched_once(nothing_there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = package({"/nowhere/osu018.lib": b"library", "/other": b""})
    fetched = []

    def fetch(source: str) -> bytes:
        fetched.append(source)
        if len(fetched) == 1:
            raise OSError("not today")
        return content

    monkeypatch.setattr(default_library, "_fetched", fetch)
    monkeypatch.setattr(default_library, "SHA256", hashlib.sha256(content).hexdigest())
    for _ in range(2):
        assert default_library.default_library().read_text() == "library"
    assert fetched == list(default_library.SOURCES)


@pytest.mark.parametrize("content", [b"", b"another package", package({})])
def test_without_the_default_the_way_out_is_named(
    nothing_there: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(default_library, "_fetched", lambda source: content)
    with pytest.raises(ToolMissing, match=r"LIBERTY=<file>.*SHA-256 must be.*apt-get is not installed") as caught:
        default_library.default_library()
    assert "\n" not in str(caught.value)
    assert not any(nothing_there.iterdir())
