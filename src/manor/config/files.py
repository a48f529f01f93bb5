"""Reading a file that may be anything: bounded, and never waiting for somebody to write into a FIFO."""

from __future__ import annotations

import os
from pathlib import Path


def read_at_most(path: Path, most: int) -> bytes:
    """The first bytes of a file. Raises OSError."""
    with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
        pieces, left = [], most
        while left > 0:
            piece = stream.read(left)
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)
