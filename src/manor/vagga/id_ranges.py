"""Which ids of the host stand behind the ids of a container (user_namespaces(7)).

Inside id 0 is the calling user; the other ids come from /etc/subuid and /etc/subgid. Root without a line there has all
ids at hand that its own namespace maps, each under the number it has: so vagga works as real root and in a container.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.kernel import id_map
from manor.kernel.id_map import IdMap
from manor.vagga.errors import PreparationError

ID_MAX: Final = 2**32 - 2  # the last number is -1, "no id"
SUGGESTED: Final = "100000:65536"


@dataclass(frozen=True, slots=True)
class Maps:
    """The id maps of one container; `str()` of a map is what uid_map and gid_map beside an image hold."""

    uids: IdMap
    gids: IdMap


def parse_ranges(texts: Sequence[str]) -> list[tuple[int, int]]:
    """`N` and `N-M` (inclusive) as (first, count), in the order written; ValueError for anything else."""
    ranges = []
    for text in texts:
        first, dash, last = text.partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            raise ValueError(f"`{text}` is no id; write `N` or `N-M`")
        low, high = int(first), int(last) if dash else int(first)
        if low > high or high > ID_MAX:
            raise ValueError(f"`{text}` is no range of ids; write the lower number first, at most {ID_MAX}")
        ranges.append((low, high - low + 1))
    return ranges


def format_map(ranges: IdMap) -> str:
    """Three numbers a line: inside, outside, count; as in /proc/PID/uid_map."""
    return "".join(f"{r.inside} {r.outside} {r.count}\n" for r in ranges)


def maps_for(uids: Sequence[str], gids: Sequence[str]) -> Maps:
    """The maps of a container that asks for these ids, made for the calling user. PreparationError says what lacks."""
    users = _one_map(parse_ranges(uids), os.getuid(), id_map.SUBUID, "uid")
    groups = _one_map(parse_ranges(gids), os.getgid(), id_map.SUBGID, "gid")
    return Maps(users, groups)


def _one_map(wanted: list[tuple[int, int]], own_id: int, file: Path, kind: str) -> IdMap:
    others = _without_zero(wanted)
    names = _caller_names()
    available = _subordinate(file, names, own_id) if others or os.getuid() == 0 else []
    if not available and os.getuid() == 0:
        return _identity(wanted, kind)
    try:
        rest = id_map.pair(others, available)
    except id_map.TooFewIds as error:
        raise PreparationError(_too_few(file, names[0], error)) from None
    return (id_map.IdRange(0, own_id, 1), *rest)


def _without_zero(wanted: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Id 0 is the caller and needs no subordinate id."""
    return [(max(first, 1), count - (first == 0)) for first, count in wanted if count - (first == 0)]


def _identity(wanted: list[tuple[int, int]], kind: str) -> IdMap:
    """Every id under its own number, as far as the present namespace maps it."""
    users, groups = id_map.read_maps()
    present = users if kind == "uid" else groups
    covered = [(0, 1), *_without_zero(wanted)]
    for first, count in covered:
        if not any(r.inside <= first and first + count <= r.inside + r.count for r in present):
            raise PreparationError(
                f"{kind}s {first}-{first + count - 1} are wanted, but this user namespace does not map them;"
                f" ask for fewer with `{kind}s` of the container"
            )
    return tuple(id_map.IdRange(first, first, count) for first, count in _joined(covered))


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges that touch become one: a map that is not cut needlessly."""
    result: list[tuple[int, int]] = []
    for first, count in ranges:
        if result and sum(result[-1]) == first:
            result[-1] = (result[-1][0], result[-1][1] + count)
        else:
            result.append((first, count))
    return result


def _caller_names() -> list[str]:
    """What the first field of a line may be: the login name, else the number itself."""
    import pwd

    try:
        return [pwd.getpwuid(os.getuid()).pw_name, str(os.getuid())]
    except KeyError:
        return [str(os.getuid())]


def _subordinate(file: Path, names: list[str], own_id: int) -> list[tuple[int, int]]:
    for name in names:
        try:
            found = id_map.subordinate_ranges(name, file=file, own_id=own_id)
        except FileNotFoundError:
            return []
        except id_map.BadSubordinateFile as error:
            raise PreparationError(str(error)) from None
        if found:
            return [(r.first, r.count) for r in found]
    return []


def _too_few(file: Path, user: str, error: id_map.TooFewIds) -> str:
    kind = file.name
    option = "uids" if kind == "subuid" else "gids"
    remedy = f"or ask for fewer with `{option}` of the container"
    if error.available == 0:
        return f"{file} has no line for {user}; add `{user}:{SUGGESTED}` to it, {remedy}"
    return (
        f"too few ids in {kind}: {error.wanted} are wanted, {error.available} are available;"
        f" add another line for {user} to {file}, {remedy}"
    )
