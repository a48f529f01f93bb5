"""What kind of machine this is."""

from __future__ import annotations

import os
from typing import Final

_DEBIAN: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "i686": "i386"}


def architecture() -> str:
    """The kernel's word: x86_64, aarch64."""
    return os.uname().machine


def debian_architecture() -> str:
    """Debian's word for it: amd64, arm64."""
    return _DEBIAN.get(architecture(), architecture())
