"""What tests of cantal share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def give_back_kept_descriptors(request: pytest.FixtureRequest) -> Iterator[None]:
    """A scanner keeps its files open as long as its process lives; here many scanners live in one process."""
    if not hasattr(request.module, "Scanned"):
        yield
        return
    before = _open_descriptors()
    yield
    for descriptor, target in _open_descriptors().items() - before.items():
        if target.startswith(("/proc/", "/sys/")) or "/pytest-" in target:
            os.close(descriptor)


def _open_descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except FileNotFoundError:  # the one that listed the directory
            continue
    return found
