"""`_pack_image`: write an image as an archive, to standard output or a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from manor.vagga.commands.options import Options
from manor.vagga.durable import locked, temporary
from manor.vagga.errors import UsageError
from manor.vagga.images import Images
from manor.vagga.session import Session
from manor.vagga.store import Image


def run(session: Session, words: Sequence[str]) -> int:
    options = Options("_pack_image", "Write an image as an archive; the same image gives the same bytes.")
    options.add_argument("-f", "--file", metavar="FILE", help="write to this file, not to standard output")
    compression = options.add_mutually_exclusive_group()
    for flags, name in (
        (("-z", "--gzip"), "gzip"),
        (("-j", "--bzip2"), "bzip2"),
        (("-J", "--xz"), "xz"),
        (("--zstd",), "zstd"),
    ):
        compression.add_argument(*flags, dest="compression", action="store_const", const=name, default="none")
    options.add_argument("--format", default="tar", metavar="FORMAT", help="tar")
    options.add_argument("name", metavar="NAME")
    chosen = options.parse_args(list(words))
    if chosen.format != "tar":
        raise UsageError(f"`--format {chosen.format}` is not supported yet; leave it out for tar")
    if chosen.file is None and os.isatty(1):
        raise UsageError("an archive is not written to a terminal; redirect the output or use `-f FILE`")
    image = session.images.require(chosen.name, session.check)
    with locked(image.last_use, shared=True):
        os.utime(image.last_use)
        if chosen.file is None:
            _pack(session.images, image, chosen.compression, 1)
        else:
            _pack_to_file(session.images, image, chosen.compression, Path(chosen.file).absolute())
    return 0


def _pack_to_file(images: Images, image: Image, compression: str, final: Path) -> None:
    unfinished = temporary(final)
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        _pack(images, image, compression, fd)
        os.fsync(fd)
        os.replace(unfinished, final)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _pack(images: Images, image: Image, compression: str, fd: int) -> None:
    from manor.vagga.enclosure import Channel, Enclosure
    from manor.vagga.packing import pack

    def work(channel: Channel) -> str:
        with open(fd, "wb", closefd=False) as to:
            pack(image.root, to, compression)
        return ""

    enclosure = Enclosure(images.maps(image.name), work)
    try:
        enclosure.wait()
    except BaseException:
        enclosure.kill()
        raise
