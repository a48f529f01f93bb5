"""Runtime metadata of versions, delivered last: `CONFIG_DIR/runtime/ROLE/VERSION.yaml`.

The content lies in `CONFIG_DIR/.store/ID/`, ID being the image id of that directory; the visible name is a symbolic
link, made beside and renamed. A version is never replaced by another content.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from manor.config.loader import load_data
from manor.delivery.durable import flush_directory, write_file
from manor.delivery.errors import BadUsage, NameTaken
from manor.delivery.index import BLOCK_BYTES, Directory, File, Index, hash_of
from manor.delivery.names import check_role_version

METADATA_BYTES_MAX: Final = 16 * 1024 * 1024  # what a reader of the runtime tree takes

Validate = Callable[[Any], None]  # plain data of a metadata file; raises ManorError


def check_metadata(text: bytes, file: str) -> dict[str, Any]:
    """The document of a metadata file, a mapping; ConfigError or BadUsage if it is none."""
    if len(text) > METADATA_BYTES_MAX:
        raise BadUsage(f"{file}:1:1: {len(text)} bytes; at most {METADATA_BYTES_MAX} are read")
    document = load_data(text, file)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise BadUsage(f"{file}:1:1: metadata of a version is a mapping such as `daemons: {{web: {{config: ...}}}}`")
    return document


class ConfigStore:
    """The configuration directory of one node."""

    def __init__(self, config_dir: Path, *, validate_runtime: Validate | None = None) -> None:
        self._store = config_dir / ".store"
        self._runtime = config_dir / "runtime"
        self._validate_runtime = validate_runtime

    def put_runtime(self, role: str, version: str, text: bytes) -> str:
        """Make a version's metadata visible; its id. The same content again is success.

        Raises:
            NameTaken: the version exists with other content.
            ConfigError, BadUsage: the text is no metadata.
        """
        check_role_version(role, version)
        document = check_metadata(text, f"{role}/{version}.yaml")
        if self._validate_runtime is not None:
            self._validate_runtime(document)
        name = f"{version}.yaml"
        id_ = _index_of_one(name, text).id
        visible = self._runtime / role / name
        if visible.exists():
            if visible.read_bytes() == text:
                return id_
            raise NameTaken(f"{role}/{version} exists with other metadata; versions are never replaced, make a new one")
        stored = self._store / id_ / name
        write_file(stored, text)
        visible.parent.mkdir(parents=True, exist_ok=True)
        beside = visible.with_name(f".tmp.{name}.{secrets.token_hex(4)}")
        os.symlink(os.path.relpath(stored, visible.parent), beside)
        os.rename(beside, visible)
        flush_directory(visible.parent)
        return id_


def _index_of_one(name: str, content: bytes) -> Index:
    starts = range(0, len(content), BLOCK_BYTES)
    blocks = tuple(hash_of(content[start : start + BLOCK_BYTES]) for start in starts)
    return Index((Directory(b"", (File(name.encode(), False, len(content), blocks),)),))
