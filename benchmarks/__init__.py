"""manor beside the programs people would use instead, in the same run on the same machine.

Machines are noisy: every figure is a median of several runs taken in turn with the peer's, and what is printed is the
ratio. `python -m benchmarks` runs all in full size, `python -m benchmarks NAME...` some. Small sizes run with the
tests, so that none can rot.
"""

import os
import sys
from pathlib import Path

# Where byte code is switched off, every start of ours compiles anew what users' machines compile once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The clusters in which the tests tell their stories, simulated and real ones, are measured here.
_TESTS = Path(__file__).parents[1] / "tests"
sys.path += [str(_TESTS / "cantal"), str(_TESTS / "verwalter")]
