"""The standard-cell library that is used if none is given: OSU's for 0.18 um, as Debian's qflow has it.

It is free, small enough to be fetched in a moment, and has cells for full adders.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from http.client import HTTPException
from pathlib import Path

from rtl.files import write_text
from sim.tools import ToolMissing

PACKAGE = "qflow-tech-osu018_1.3.17+dfsg.1-3_all.deb"
SHA256 = "64fae4bebbbd6a849c8c87c8e86d5fe137df44a1ea7715dcd59d11c720019428"
SOURCES = (
    f"http://deb.debian.org/debian/pool/main/q/qflow/{PACKAGE}",
    # Debian's archive of all that ever was in it, by the SHA-1: it stays when the first is replaced by a newer one.
    "http://snapshot.debian.org/file/86b52d75fffde26c68b395c7d4720712f518f499",
)
TIMEOUT_S = 30
INSTALLED = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
FETCHED = Path("build/lib/osu018_stdcells.lib")


def default_library() -> Path:
    """The library's Liberty file: as installed, as fetched before, or fetched now into build/lib.

    ToolMissing if it cannot be had; its one line says what was tried.
    """
    for path in (INSTALLED, FETCHED):
        if path.is_file():
            return path
    failures = []
    for source in (*SOURCES, "apt-get download"):
        try:
            package = _downloaded() if source == "apt-get download" else _fetched(source)
            write_text(FETCHED, unpacked(package))
        except (OSError, ValueError, HTTPException, subprocess.SubprocessError) as error:
            failures.append(f"{source}: {error}")
        else:
            return FETCHED
    tried = "; ".join(" ".join(failure.split()) for failure in failures)
    raise ToolMissing(f"no standard-cell library: LIBERTY=<file> names one; the default could not be fetched ({tried})")


def unpacked(package: bytes) -> str:
    """The Liberty file in Debian's package. ValueError if these are not the bytes that we know."""
    found = hashlib.sha256(package).hexdigest()
    if found != SHA256:
        raise ValueError(f"the SHA-256 must be {SHA256}, not {found}")
    with tarfile.open(fileobj=io.BytesIO(_member(package, "data.tar.xz")), mode="r:xz") as archive:
        file = archive.extractfile(f".{INSTALLED}")
        if not file:
            raise ValueError(f"{INSTALLED} is not a file")
        return file.read().decode()


def _member(archive: bytes, name: str) -> bytes:
    """A file in an archive of ar: 8 bytes, then for every file a header of 60 and the file, padded to be even."""
    position = 8
    while position + 60 <= len(archive):
        size = int(archive[position + 48 : position + 58])
        if archive[position : position + 16].decode().rstrip(" /") == name:
            return archive[position + 60 : position + 60 + size]
        position += 60 + size + size % 2
    raise ValueError(f"{name} is not in the package")


def _fetched(source: str) -> bytes:
    with urllib.request.urlopen(source, timeout=TIMEOUT_S) as answer:
        return answer.read()


def _downloaded() -> bytes:
    """By means of apt, which may know of another mirror."""
    if shutil.which("apt-get") is None:
        raise ValueError("apt-get is not installed")
    name, version, _ = PACKAGE.split("_")
    with tempfile.TemporaryDirectory() as folder:
        command = ["apt-get", "download", f"{name}={version}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=4 * TIMEOUT_S, check=False)
        packages = list(Path(folder).glob("*.deb"))
        if not packages:
            raise ValueError((done.stderr.splitlines() or ["no package"])[-1])
        return packages[0].read_bytes()
