"""What the daemon keeps below `/var/lib/verwalter`: written beside and renamed, so that a reader sees old or new.

A broken file never stops the daemon: the schedule is put aside, the others are treated as absent, with a line that
says so.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from manor.config.errors import ManorError
from manor.verwalter.membership import Member
from manor.verwalter.schedule import BadSchedule, Envelope, decode_own, encode

STATE_BYTES_MAX: Final = 16 * 1024 * 1024  # election.json of 10,000 members has 1 MiB, deployed.json less

T = TypeVar("T")


class DiskTrouble(ManorError):
    """/var/lib/verwalter/schedule/schedule.json: No space left on device"""


class ElectionState(msgspec.Struct, frozen=True, kw_only=True):
    """`election.json`."""

    epoch: int = 0
    voted_for: str | None = None
    members: tuple[Member, ...] = ()


class DeployedRole(msgspec.Struct, frozen=True, kw_only=True):
    """How a role was last rendered here."""

    hash: str  # of what the rendering depended on
    ok: bool
    deployment: str
    at: int  # ms since 1970
    template: str = ""
    error: str | None = None
    failures: int = 0  # in a row
    removing: bool = False  # the last rendering was to take it away, and failed
    variables: dict[str, Any] = {}  # those of the role, for the day it is taken away from this node


class Storage:
    """The state directory of one daemon."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.schedule_file = directory / "schedule/schedule.json"
        self._election_file = directory / "election.json"
        self._deployed_file = directory / "deployed.json"

    def prepare(self) -> None:
        """Make the directories; what a killed render left is removed. Raises DiskTrouble."""
        try:
            for name in ("schedule", "render", "used-images", "delivery"):
                (self.directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            for leftover in (self.directory / "render").iterdir():
                _remove_tree(leftover)
        except OSError as error:
            raise DiskTrouble(f"{error.filename or self.directory}: {error.strerror}") from error

    def read_election(self) -> tuple[ElectionState, str | None]:
        """The state, or an empty one with the reason."""
        return _read(self._election_file, ElectionState, ElectionState())

    def write_election(self, state: ElectionState) -> None:
        """Durable when it returns: a vote may leave the node then."""
        write_durably(self._election_file, msgspec.json.encode(state))

    def read_deployed(self) -> tuple[dict[str, DeployedRole], str | None]:
        return _read(self._deployed_file, dict[str, DeployedRole], {})

    def write_deployed(self, roles: dict[str, DeployedRole]) -> None:
        write_durably(self._deployed_file, msgspec.json.encode(dict(sorted(roles.items()))))

    def read_schedule(self, bytes_max: int) -> tuple[Envelope | None, str | None]:
        """The last stable schedule; a broken file is put aside under another name."""
        try:
            text = self.schedule_file.read_bytes()
            return decode_own(text, source=str(self.schedule_file), bytes_max=bytes_max), None
        except FileNotFoundError:
            return None, None
        except OSError as error:
            return None, f"{self.schedule_file}: {error.strerror}"
        except BadSchedule as error:
            aside = self.schedule_file.with_name(f"schedule.json.bad-{int(time.time())}")
            with contextlib.suppress(OSError):  # then it stays where it is and is overwritten by the next one
                self.schedule_file.rename(aside)
            return None, f"{error}; put aside as {aside.name}"

    def write_schedule(self, envelope: Envelope) -> None:
        write_durably(self.schedule_file, encode(envelope))


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Old or new content under this name, whatever happens. Raises DiskTrouble."""
    temporary = path.with_name(f".tmp.{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with contextlib.suppress(OSError):  # it may never have been made
            temporary.unlink()
        raise DiskTrouble(f"{path}: {error.strerror}") from error


def _read(path: Path, into: type[T], absent: T) -> tuple[T, str | None]:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(STATE_BYTES_MAX), type=into), None
    except FileNotFoundError:
        return absent, None
    except (OSError, msgspec.DecodeError) as error:
        return absent, f"{path}: {error}; treated as absent"


def _remove_tree(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            _remove_tree(child)
        path.rmdir()
    else:
        path.unlink()
