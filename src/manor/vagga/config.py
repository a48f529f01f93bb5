"""vagga.yaml as structs, and the checks that need the whole of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeAlias, get_args

import msgspec

from manor.config.units import Check, Length, Range, UnsupportedTags
from manor.vagga.id_ranges import parse_ranges
from manor.vagga.paths import InsidePath
from manor.vagga.volumes.table import AnyVolume

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
ID_MAX: Final = 2**30
Id: TypeAlias = Annotated[int, Range(0, ID_MAX)]

Path: TypeAlias = tuple[str | int, ...]


def _name(value: str) -> str | None:
    if NAME.fullmatch(value):
        return None
    return (
        f"the name `{value}` is not allowed; write letters, digits, `.`, `-` and `_`, beginning with a letter or digit"
    )


def _id_range(value: str) -> str | None:
    try:
        parse_ranges([value])
    except ValueError as error:
        return str(error)
    return None


Name: TypeAlias = Annotated[str, Check(_name)]
IdRange: TypeAlias = Annotated[str, Check(_id_range)]
CMDLINE: Final = "$cmdline"
DEFAULT_SHELL: Final = ("/bin/sh", "-c", CMDLINE, "--")
ALL_IDS: Final = ("0-65535",)


if TYPE_CHECKING:
    from manor.vagga.steps.interface import Step

    AnyStep: TypeAlias = Step
else:
    AnyStep = Any  # `merging.py` knows all steps and reads them; here they are imported as they are met


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe for an image, and how commands run in it."""

    unsupported: ClassVar[tuple[str, ...]] = ("image-cache-url", "data-dirs")

    setup: tuple[AnyStep, ...] = ()
    environ: dict[str, str] = {}
    environ_file: InsidePath | None = None
    uids: tuple[IdRange, ...] = ALL_IDS
    gids: tuple[IdRange, ...] = ALL_IDS
    volumes: dict[InsidePath, AnyVolume] = {}
    resolv_conf_path: InsidePath | None = "/etc/resolv.conf"
    hosts_file_path: InsidePath | None = "/etc/hosts"
    auto_clean: bool = False
    default_shell: tuple[str, ...] = ()

    def __problems__(self) -> Iterator[tuple[Path, str]]:
        for option, ranges in (("uids", self.uids), ("gids", self.gids)):
            if not any(first == 0 for first, _ in parse_ranges(ranges)):
                yield (option,), f"`{option}` lacks id 0, which is the calling user; begin with `0`"
        for number, step in enumerate(self.setup):
            if type(step).__name__ == "Container" and any(earlier.layer for earlier in self.setup[:number]):
                yield ("setup", number), "`!Container` behind steps that make files is not supported yet; put it first"

    def built_from(self) -> Iterator[tuple[int, str]]:
        """The containers this one needs: (number of the step, name)."""
        for number, step in enumerate(self.setup):
            name = getattr(step, "needs_container", None)
            if name is not None:
                yield number, name

    @property
    def shell(self) -> tuple[str, ...]:
        """The program that runs commands given as text."""
        return self.default_shell or DEFAULT_SHELL


class Command(msgspec.Struct, frozen=True, kw_only=True, tag="Command"):
    """What a user can call: a program in a container."""

    unsupported: ClassVar[tuple[str, ...]] = ("options", "expect-inotify-limit", "banner-delay", "symlink-name", "tags")

    container: str
    run: Annotated[str | tuple[str, ...], Length(1)]
    description: str = ""
    banner: str = ""
    epilog: str = ""
    also_called: tuple[Name, ...] = msgspec.field(name="aliases", default=())
    group: str = ""
    prerequisites: tuple[str, ...] = ()
    isolate_network: bool = False
    work_dir: str | None = None
    accepts_arguments: bool | None = None
    environ: dict[str, str] = {}
    volumes: dict[InsidePath, AnyVolume] = {}
    pid1mode: Literal["wait", "wait-all-children", "exec"] = "wait"
    write_mode: Literal["read-only", "transient-hard-link-copy", "transient-overlay"] = "read-only"
    user_id: Id = 0
    group_id: Id = 0
    external_user_id: Id | None = None
    supplementary_gids: tuple[Id, ...] = ()
    pass_tcp_socket: str | None = None

    @property
    def takes_arguments(self) -> bool:
        """Are further words passed to the program?"""
        return self.accepts_arguments if self.accepts_arguments is not None else not isinstance(self.run, str)


AnyCommand: TypeAlias = Annotated[Command, UnsupportedTags(("Supervise", "CapsuleCommand"))]

assert get_args(AnyCommand)[0] is Command


def reference_problems(containers: Mapping[str, Container]) -> Iterator[tuple[Path, str]]:
    """Steps that name a container that does not exist, and circles; for the whole, after mixins were added."""
    for name, container in containers.items():
        for number, other in container.built_from():
            if other not in containers:
                yield (
                    ("containers", name, "setup", number),
                    f"container `{name}` is built from `{other}`, which does not exist",
                )
    reported: set[str] = set()
    for name in containers:
        circle = _circle(name, containers)
        if circle and not reported & set(circle):
            reported |= set(circle)
            yield ("containers", circle[0], "setup"), f"cyclic dependency: {' -> '.join([*circle, circle[0]])}"


def _circle(start: str, containers: Mapping[str, Container]) -> list[str] | None:
    """The first circle that leads back to `start`, beginning with it."""
    trail: list[str] = []
    done: set[str] = set()

    def visit(name: str) -> list[str] | None:
        if name not in containers or name in done:
            return None
        trail.append(name)
        for _, other in containers[name].built_from():
            if other == start:
                return list(trail)
            if other not in trail:
                found = visit(other)
                if found:
                    return found
        trail.pop()
        done.add(name)
        return None

    return visit(start)


def build_order(wanted: list[str], containers: Mapping[str, Container]) -> list[str]:
    """The wanted containers and all they are built from, each once, what is needed first."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        for _, other in containers[name].built_from():
            visit(other)
        order.append(name)

    for name in wanted:
        visit(name)
    return order
