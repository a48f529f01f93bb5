"""Fixtures of the lithos tests; the machine itself is in lithos_machine.py."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lithos_machine import Machine


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of guest.c, compiled once."""
    program = tmp_path_factory.mktemp("guest") / "guest"
    source = Path(__file__).with_name("guest.c")
    subprocess.run(["cc", "-static", "-O1", "-Wall", "-o", program, source], check=True)
    return program


@pytest.fixture
def machine(guest: Path) -> Iterator[Machine]:
    # A short path: it becomes part of the names of sockets and cgroups.
    root = Path(tempfile.mkdtemp(prefix="lithos"))
    root.chmod(0o755)
    copy = root / "guest"
    shutil.copy2(guest, copy)
    made = Machine(root, copy)
    try:
        yield made
    finally:
        made.tear_down()
