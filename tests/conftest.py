"""What all tests share."""

from __future__ import annotations

import os

# Byte code makes every started command faster; an environment that switches it off would slow hundreds of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
