"""Every benchmark still runs. Its figures are looked at by hand, in full size: `make bench`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if "def run(size" in path.read_text())


@pytest.mark.system
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_in_small_size_measures_something(name: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--small", name], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr
    rows = result.stdout.partition(f"\n{name}\n")[2].splitlines()
    assert rows and all(re.match(r"  \S.* +-?[0-9]+\.[0-9]{3} \S", row) for row in rows), result.stdout


def test_every_benchmark_is_run_by_default() -> None:
    result = subprocess.run([sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert all(name in result.stdout for name in NAMES)
