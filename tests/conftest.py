"""What all tests share."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

# Byte code makes every started command faster; an environment that switches it off would slow hundreds of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def one_of_its_group(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests with the mark `alone("NAME")` share something of this machine: one of them runs at a time."""
    names = sorted({str(mark.args[0]) for mark in request.node.iter_markers("alone")})
    with ExitStack() as held:
        for name in names:
            lock = held.enter_context(open(Path(tempfile.gettempdir()) / f"manor-tests.{name}.lock", "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker is left with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)
