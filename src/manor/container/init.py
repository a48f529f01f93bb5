"""The init of containers: where it is, and how manor-init is called. The program itself is `init.c`."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from manor.config.errors import ManorError

OWN_INIT: Final = Path(__file__).with_name("manor-init")

_ELF_64_LITTLE: Final = b"\x7fELF\x02\x01"
_PROGRAM_INTERPRETER: Final = 3  # PT_INTERP, elf(5): what a dynamically linked program has
_PROGRAM_HEADERS_MAX: Final = 128


class InitNotFound(ManorError):
    """container-init `/usr/bin/catatonit`: No such file or directory; install it or use `auto`"""

    exit_status = 127


def find_init(choice: str = "auto") -> Path:
    """The init to bind into containers: `auto` is the manor-init installed with manor, else an absolute path.

    Raises InitNotFound when it is missing, not executable, or needs a dynamic linker that an image may not have.
    """
    if choice == "auto":
        if not os.access(OWN_INIT, os.X_OK):
            raise InitNotFound(f"{OWN_INIT}: manor-init is missing; install manor again with a C compiler present")
        return OWN_INIT
    if not choice.startswith("/"):
        raise InitNotFound(f"container-init `{choice}` is no absolute path; write one, or `auto`")
    try:
        with open(choice, "rb") as file:
            static = is_static(file)
    except OSError as error:
        raise InitNotFound(f"container-init `{choice}`: {error.strerror}; install it or use `auto`") from error
    if not static:
        raise InitNotFound(f"container-init `{choice}` is not statically linked; use a static build of it, or `auto`")
    if not os.access(choice, os.X_OK):
        raise InitNotFound(f"container-init `{choice}` is not executable; make it so, or use `auto`")
    return Path(choice)


def is_static(program: BinaryIO) -> bool:
    """Is this a 64-bit ELF program without an interpreter? Source: elf(5)."""
    header = program.read(64)
    if len(header) < 64 or not header.startswith(_ELF_64_LITTLE):
        return False
    (table_at,) = struct.unpack_from("<Q", header, 32)
    entry_bytes, entries = struct.unpack_from("<HH", header, 54)
    if entry_bytes < 4 or not 0 < entries <= _PROGRAM_HEADERS_MAX:
        return False
    program.seek(table_at)
    table = program.read(entry_bytes * entries)
    if len(table) < entry_bytes * entries:
        return False
    types = (struct.unpack_from("<I", table, entry_bytes * n)[0] for n in range(entries))
    return _PROGRAM_INTERPRETER not in types


def is_own_init(path: Path) -> bool:
    """Is it manor-init? Only that one knows pid variables, gaps in descriptors and pausing."""
    return path == OWN_INIT or (path.exists() and path.samefile(OWN_INIT))


def init_arguments(
    *,
    pid_env: Iterable[str] = (),
    close: Iterable[int] = (),
    non_block: Iterable[int] = (),
    die_with_parent: bool = False,
    wait_all: bool = False,
    pause: bool = False,
    execute_in_place: bool = False,
    user: Sequence[int] = (),
    user_namespace: tuple[int, int] | None = None,
) -> list[str]:
    """Options of manor-init with the closing `--`: its path goes before them, executable and arguments after.

    With `pause` there is no `--`, since nothing comes after. `execute_in_place` makes it the launcher of a process
    that is put into a running container, or that is process 1 itself. `user` is uid, gid and supplementary groups;
    `user_namespace` is (inside, outside): one more namespace with that one user, made by a process 1 that is root.
    """
    words: list[str] = []
    for name in pid_env:
        words += ["--pid-env", name]
    for fd in close:
        words += ["--close", str(fd)]
    for fd in non_block:
        words += ["--non-block", str(fd)]
    if user:
        words += ["--user", ":".join(map(str, user))]
    if user_namespace is not None:
        words += ["--user-namespace", "{}:{}".format(*user_namespace)]
    switches = {
        "--die-with-parent": die_with_parent,
        "--wait-all": wait_all,
        "--exec": execute_in_place,
        "--pause": pause,
    }
    words += [option for option, on in switches.items() if on]
    return words if pause else [*words, "--"]
