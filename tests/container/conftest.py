"""A runtime that works here, and containers that are taken away after each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_containers import Containers, number

from manor.container.choice import RuntimeBinary
from manor.container.runtime import Runtime, find_runtime
from manor.kernel import process


@pytest.fixture(scope="session")
def runtime_binary(tmp_path_factory: pytest.TempPathFactory) -> RuntimeBinary:
    return find_runtime(cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def containers(tmp_path: Path, runtime_binary: RuntimeBinary) -> Iterator[Containers]:
    process.set_child_subreaper()
    place = Containers(
        Runtime(runtime_binary, tmp_path / "oci"), tmp_path.resolve(), f"/manor-test-{os.getpid()}-{next(number)}"
    )
    yield place
    place.remove_all()
