"""Who this machine is: 16 bytes that no other machine has."""

from __future__ import annotations

import logging
import re
import secrets
from pathlib import Path
from typing import Final

from manor.cantal.safe_write import write_durably

log = logging.getLogger(__name__)

MACHINE_ID_FILE: Final = Path("/etc/machine-id")

_HEX: Final = re.compile(r"[0-9a-fA-F]{32}")


def parse_machine_id(text: str) -> bytes | None:
    """32 hex digits; dashes and white space around are tolerated. None for anything else, and for only zeros."""
    digits = text.strip().replace("-", "")
    if not _HEX.fullmatch(digits):
        return None
    value = bytes.fromhex(digits)
    return value if any(value) else None


def read_machine_id(storage_dir: Path | None, file: Path = MACHINE_ID_FILE) -> bytes:
    """The machine's id, or a substitute that is kept in the storage directory if there is one."""
    found = _read(file)
    if found is not None:
        return found
    kept = storage_dir / "machine-id" if storage_dir is not None else None
    substitute = _read(kept) if kept is not None else None
    if substitute is None:
        substitute = secrets.token_bytes(16)
        if kept is not None:
            try:
                write_durably(kept, substitute.hex().encode() + b"\n")
            except OSError as error:
                log.warning("machine_id.not_kept file=%s reason=%s", kept, error.strerror)
    log.warning("machine_id.substitute file=%s: no usable id there; using %s", file, substitute.hex())
    return substitute


def _read(file: Path) -> bytes | None:
    try:
        return parse_machine_id(file.read_text(errors="replace")[:100])
    except OSError:
        return None  # absent or unreadable: either way there is no id in it
