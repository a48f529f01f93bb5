"""User and group ids inside and outside of a user namespace. Source: user_namespaces(7), subuid(5), newuidmap(1)."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SUBUID: Final = Path("/etc/subuid")
SUBGID: Final = Path("/etc/subgid")
MAPPER_TIMEOUT_S: Final = 10.0  # newuidmap asks the user database, which may be on the network


@dataclass(frozen=True, slots=True)
class IdRange:
    """`count` ids from `inside` on are the ids from `outside` on in the parent namespace."""

    inside: int
    outside: int
    count: int


IdMap = tuple[IdRange, ...]


@dataclass(frozen=True, slots=True)
class SubordinateRange:
    """Ids that a line of /etc/subuid or /etc/subgid leaves to a user."""

    first: int
    count: int


class BadSubordinateFile(ValueError):
    """/etc/subuid:3:1: malformed line; write `NAME:FIRST:COUNT`"""


class IdNotMapped(LookupError):
    """id 5 has no counterpart in the map"""


class TooFewIds(ValueError):
    """Fewer ids outside than were asked for."""

    def __init__(self, wanted: int, available: int) -> None:
        super().__init__(f"{wanted} ids are wanted and {available} are available")
        self.wanted = wanted
        self.available = available


def to_outside(id_map: IdMap, inside: int) -> int:
    """The id of the parent namespace; raises IdNotMapped."""
    for part in id_map:
        if part.inside <= inside < part.inside + part.count:
            return part.outside + inside - part.inside
    raise IdNotMapped(f"id {inside} has no counterpart outside")


def to_inside(id_map: IdMap, outside: int) -> int:
    """The id as the namespace sees it; raises IdNotMapped."""
    for part in id_map:
        if part.outside <= outside < part.outside + part.count:
            return part.inside + outside - part.outside
    raise IdNotMapped(f"id {outside} has no counterpart inside")


def pair(inside: Iterable[tuple[int, int]], outside: Iterable[tuple[int, int]]) -> IdMap:
    """Match ranges (first, count) in order, until every id inside has one outside; raises TooFewIds."""
    wanted, available = [r for r in inside if r[1]], [r for r in outside if r[1]]
    enough = sum(count for _, count in available)
    needed = sum(count for _, count in wanted)
    if enough < needed:
        raise TooFewIds(needed, enough)
    result: list[IdRange] = []
    spare = iter(available)
    first_outside, left = 0, 0
    for first_inside, count in wanted:
        while count:
            if not left:
                first_outside, left = next(spare)
            taken = min(count, left)
            result.append(IdRange(first_inside, first_outside, taken))
            first_inside, count = first_inside + taken, count - taken
            first_outside, left = first_outside + taken, left - taken
    return tuple(result)


def subordinate_ranges(user: str, *, file: Path = SUBUID, own_id: int | None = None) -> tuple[SubordinateRange, ...]:
    """The user's ranges in the file's order; `user` is a name, or the decimal uid of somebody without one.

    Raises:
        FileNotFoundError: there is no such file.
        BadSubordinateFile: a malformed line, a count of 0, or a range of this user that holds `own_id`.
    """
    result = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        owner, found = _parse_subordinate(line, f"{file}:{number}:1")
        if owner != user:
            continue
        if own_id is not None and found.first <= own_id < found.first + found.count:
            raise BadSubordinateFile(
                f"{file}:{number}:1: the range holds {own_id}, the user's own id; choose one that begins above it"
            )
        result.append(found)
    return tuple(result)


def _parse_subordinate(line: str, at: str) -> tuple[str, SubordinateRange]:
    owner, *numbers = line.strip().split(":")
    if not owner or len(numbers) != 2 or not all(n.isascii() and n.isdigit() for n in numbers):
        raise BadSubordinateFile(f"{at}: malformed line `{line}`; write `NAME:FIRST:COUNT`")
    first, count = map(int, numbers)
    if count == 0:
        raise BadSubordinateFile(f"{at}: a range of 0 ids; give a count such as 65536, or remove the line")
    return owner, SubordinateRange(first, count)


def parse_map(text: str) -> IdMap:
    """/proc/PID/uid_map or gid_map, seen from the reader's namespace."""
    return tuple(IdRange(*map(int, line.split())) for line in text.splitlines() if line.strip())


def read_maps(pid: int | str = "self") -> tuple[IdMap, IdMap]:
    """The maps of users and of groups that a process's user namespace has."""
    users, groups = (Path(f"/proc/{pid}/{kind}_map").read_text() for kind in ("uid", "gid"))
    return parse_map(users), parse_map(groups)


def write_maps(pid: int, uid_map: IdMap, gid_map: IdMap) -> None:
    """Give the new user namespace of a process its maps.

    They are written directly where the kernel allows it: by root, and by anybody who maps only himself (then the
    process can no more change its supplementary groups). Else newuidmap and newgidmap write them.
    Raises FileNotFoundError when one of these is missing, OSError with its message when it refuses.
    """
    if os.geteuid() == 0:
        _write(pid, "gid_map", gid_map)
        _write(pid, "uid_map", uid_map)
        return
    if _is_only(gid_map, os.getegid()):
        Path(f"/proc/{pid}/setgroups").write_text("deny")
        _write(pid, "gid_map", gid_map)
    else:
        _run_mapper("newgidmap", pid, gid_map)
    if _is_only(uid_map, os.geteuid()):
        _write(pid, "uid_map", uid_map)
    else:
        _run_mapper("newuidmap", pid, uid_map)


def _is_only(id_map: IdMap, own_id: int) -> bool:
    return len(id_map) == 1 and id_map[0].count == 1 and id_map[0].outside == own_id


def _write(pid: int, name: str, id_map: IdMap) -> None:
    """In one write, as the kernel demands."""
    with open(f"/proc/{pid}/{name}", "wb", buffering=0) as file:
        file.write("".join(f"{p.inside} {p.outside} {p.count}\n" for p in id_map).encode())


def _run_mapper(program: str, pid: int, id_map: IdMap) -> None:
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(errno.ENOENT, f"not found in PATH={os.environ.get('PATH', '')}", program)
    numbers: Sequence[str] = [str(n) for p in id_map for n in (p.inside, p.outside, p.count)]
    result = subprocess.run(
        [path, str(pid), *numbers],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=MAPPER_TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        message = result.stderr.decode(errors="replace").strip() or f"exit status {result.returncode}"
        raise OSError(errno.EPERM, message, program)
