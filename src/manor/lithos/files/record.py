"""Records: what a master must know about one container to adopt it after its own death. One JSON file a container.

Times are seconds of CLOCK_BOOTTIME, which goes on over exec and means something only together with `boot_id`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from manor.lithos.errors import RecordError

RECORD_VERSION: Final = 1
RECORD_BYTES_MAX: Final = 2**20
UNWELL: Final = "unwell"  # a stop_reason: a health probe failed or a readiness deadline passed
UNIDENTIFIED_KILL_TIMEOUT_S: Final = 5.0

RecordState = Literal["starting", "running", "stopping"]


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """The file that gets stdout and stderr: below `base`, looked up without following links."""

    base: str
    beneath: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """RUNTIME_DIR/containers/ID.json. Holds no secrets; `unknown` keeps the fields of newer versions."""

    version: int = RECORD_VERSION
    name: str
    owner: Literal["master", "cmd"]
    config: str
    id: str
    state: RecordState
    boot_id: str
    init_pid: int | None = None
    init_start_time: int | None = None
    main_pid: int | None = None
    main_start_time: int | None = None
    owner_pid: int | None = None
    owner_start_time: int | None = None
    started_at: float = 0.0
    ready_at: float | None = None
    restart_min: float = 0.0
    term_at: float | None = None
    term_sent_at: float | None = None
    kill_at: float | None = None
    kill_timeout: float = UNIDENTIFIED_KILL_TIMEOUT_S
    pre_stop_delay: float = 0.0
    stop_signal: str = "TERM"
    stop_reason: str | None = None
    normal_exit_codes: tuple[int, ...] = ()
    restart_process_only: bool = False
    ports: dict[str, int] = {}
    netns: str | None = None
    image: str = ""
    cgroup: str | None = None
    output: Output | None = None
    unknown: dict[str, Any] = {}


KNOWN: Final = frozenset(Record.__struct_fields__) - {"unknown"}


def encode_record(record: Record) -> bytes:
    known = msgspec.to_builtins(record)
    unknown = known.pop("unknown")
    return msgspec.json.encode({**unknown, **known})


def decode_record(text: bytes, file: Path) -> Record:
    """Another version is read too, as far as pid, name and config can be had from it."""
    try:
        document = msgspec.json.decode(text)
        if not isinstance(document, Mapping):
            raise msgspec.ValidationError("not a mapping")
        unknown = {key: value for key, value in document.items() if key not in KNOWN}
        known = {key: value for key, value in document.items() if key in KNOWN}
        return msgspec.convert({**known, "unknown": unknown}, Record)
    except msgspec.MsgspecError as error:
        raise RecordError(f"{file}:1:1: not a record: {error}; the container is left to be cleaned by hand") from error


def _read(path: Path) -> bytes:
    """At most so much that what is longer is no JSON any more."""
    with open(path, "rb") as file:
        return file.read(RECORD_BYTES_MAX)


class RecordStore:
    """The directory of records: whole files or none, whoever writes or dies meanwhile."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, container_id: str) -> Path:
        return self._directory / f"{container_id}.json"

    def write(self, record: Record) -> None:
        """Not synced to disk: after a crash of the machine no container of the record lives either."""
        temporary = self._directory / f".{record.id}.{os.getpid()}.tmp"
        temporary.write_bytes(encode_record(record))
        temporary.chmod(0o644)
        temporary.rename(self.path(record.id))

    def remove(self, container_id: str) -> None:
        self.path(container_id).unlink(missing_ok=True)

    def read(self, container_id: str) -> Record | None:
        path = self.path(container_id)
        try:
            return decode_record(_read(path), path)
        except FileNotFoundError:
            return None

    def read_all(self) -> tuple[list[Record], list[RecordError]]:
        """Every record in order of id, and one error for each file that is none."""
        records: list[Record] = []
        errors: list[RecordError] = []
        for path in sorted(self._directory.glob("*.json")):
            if path.name.startswith("."):
                continue
            try:
                records.append(decode_record(_read(path), path))
            except FileNotFoundError:
                continue  # a lithos_cmd ended just now
            except RecordError as error:
                errors.append(error)
        return records, errors
