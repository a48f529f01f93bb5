"""lithos_mkdev: make the directory that is shown as /dev inside containers."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

DEVICES: Final = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
DIRECTORIES: Final = ("pts", "shm")
LINKS: Final = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
MOUNT_POINTS: Final = (".lithos-init", ".lithos-notify")


def main(argv: Sequence[str] | None = None) -> int:
    from manor import VERSION

    words = list(sys.argv[1:] if argv is None else argv)
    usage = "usage: lithos_mkdev DIR\n\nMake DIR with the devices that containers see as /dev. Can be repeated."
    if words in (["--help"], ["-h"]):
        print(usage)
        return 0
    if words == ["--version"]:
        print(VERSION)
        return 0
    if len(words) != 1 or words[0].startswith("-"):
        print(usage, file=sys.stderr)
        return 1
    try:
        make_dev(Path(words[0]))
    except OSError as error:
        print(f"lithos_mkdev: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def make_dev(directory: Path) -> None:
    """What is there already is left as it is."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, (major, minor) in DEVICES.items():
        with contextlib.suppress(FileExistsError):
            os.mknod(directory / name, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
            (directory / name).chmod(0o666)  # whatever the umask is
    for name in DIRECTORIES:
        (directory / name).mkdir(mode=0o755, exist_ok=True)
    for name, target in LINKS.items():
        with contextlib.suppress(FileExistsError):
            (directory / name).symlink_to(target)
    for name in MOUNT_POINTS:
        (directory / name).touch(mode=0o644, exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
