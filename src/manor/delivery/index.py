r"""The index of an image: every path, every block's hash, and one id for the whole. A dir-signature v1 file.

    DIRSIGNATURE.v1 sha512/256 block_size=32768
    /
      manage.py x 642 5f4c...
      vmlinuz s boot/vmlinuz
    /srv
      empty f 0
      page\x20one.html f 40000 9a1e... 77b0...
    d2c4...

Directories stand with their path below the root, sorted component by component; below each its entries, sorted; all
sorting is by bytes. `f` is a regular file, `x` an executable one, `s` a symbolic link. Blank, control and non-ASCII
bytes and the backslash are escaped. Hashes are SHA-512/256 of FIPS 180-4, one for each 32 KiB. The last line hashes
all lines after the header: it is the image's id.

Content, links and the execute bit are all an image is to delivery: owners, other modes and times are not here.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, TypeAlias

from manor.delivery.errors import ImageMalformed

HEADER: Final = b"DIRSIGNATURE.v1 sha512/256 block_size=32768"
BLOCK_BYTES: Final = 32 * 1024
INDEX_BYTES_MAX: Final = 256 * 1024 * 1024  # some 100 GiB of files
ENTRIES_MAX: Final = 5_000_000
DEPTH_MAX: Final = 256

_ESCAPED: Final = re.compile(rb"[\x00-\x20\x7f-\xff\\]")
_ESCAPE: Final = re.compile(rb"\\x([0-9a-f]{2})")
_HASH: Final = re.compile(rb"[0-9a-f]{64}")
_KINDS: Final = {
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
}


@dataclass(frozen=True, slots=True)
class File:
    name: bytes
    executable: bool
    size: int
    blocks: tuple[str, ...]  # hex, one for each 32 KiB begun


@dataclass(frozen=True, slots=True)
class Link:
    name: bytes
    target: bytes


Entry: TypeAlias = File | Link


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory's files and links; its subdirectories stand for themselves in the index."""

    path: bytes  # below the root without a slash at either end; empty for the root
    entries: tuple[Entry, ...]

    def path_of(self, entry: Entry) -> bytes:
        return self.path + b"/" + entry.name if self.path else entry.name


@dataclass(frozen=True)
class Index:
    """All directories in the index's order."""

    directories: tuple[Directory, ...]

    @cached_property
    def id(self) -> str:
        return self._body_and_id[1]

    @cached_property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for _path, file in self.files_with_paths())

    @cached_property
    def files(self) -> int:
        """How many files and links."""
        return sum(len(directory.entries) for directory in self.directories)

    def to_bytes(self) -> bytes:
        body, id_ = self._body_and_id
        return b"%b\n%b%b\n" % (HEADER, body, id_.encode())

    def files_with_paths(self) -> Iterator[tuple[bytes, File]]:
        for directory in self.directories:
            for entry in directory.entries:
                if isinstance(entry, File):
                    yield directory.path_of(entry), entry

    def entries(self) -> dict[bytes, Entry | None]:
        """Path -> what is there; None for a directory."""
        found: dict[bytes, Entry | None] = {}
        for directory in self.directories:
            found[directory.path] = None
            found.update((directory.path_of(entry), entry) for entry in directory.entries)
        return found

    @cached_property
    def _body_and_id(self) -> tuple[bytes, str]:
        body = b"".join(_lines(self.directories))
        return body, hash_of(body)


def hash_of(data: bytes) -> str:
    return hashlib.new("sha512_256", data).hexdigest()


def build_index(root: Path) -> Index:
    """Read a whole tree. Symbolic links are not followed, not even `root` itself.

    Raises:
        ImageMalformed: a device, socket or pipe, with its path; or more than the bounds of this module.
        OSError: something cannot be read.
    """
    directories: list[Directory] = []
    waiting = [b""]
    seen = 0
    while waiting:
        path = waiting.pop()
        directory, below = _read_directory(root, path)
        directories.append(directory)
        waiting.extend(below)
        seen += 1 + len(directory.entries)
        if seen > ENTRIES_MAX:
            raise ImageMalformed(f"{root}: more than {ENTRIES_MAX} files and directories")
    return Index(tuple(sorted(directories, key=lambda directory: _sorting_key(directory.path))))


def _read_directory(root: Path, path: bytes) -> tuple[Directory, list[bytes]]:
    if path.count(b"/") >= DEPTH_MAX:
        raise ImageMalformed(f"{root / os.fsdecode(path)}: more than {DEPTH_MAX} directories deep")
    descriptor = os.open(os.path.join(os.fsencode(root), path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    entries: list[Entry] = []
    below: list[bytes] = []
    try:
        for name in sorted(os.fsencode(name) for name in os.listdir(descriptor)):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            full = path + b"/" + name if path else name
            if stat.S_ISDIR(status.st_mode):
                below.append(full)
            elif stat.S_ISLNK(status.st_mode):
                entries.append(Link(name, os.readlink(name, dir_fd=descriptor)))
            elif stat.S_ISREG(status.st_mode):
                entries.append(_read_file(descriptor, name))
            else:
                raise ImageMalformed(
                    f"{root / os.fsdecode(full)}: is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no file')}; "
                    "only regular files, directories and symbolic links are delivered"
                )
    finally:
        os.close(descriptor)
    return Directory(path, tuple(entries)), below


def _read_file(directory: int, name: bytes) -> File:
    """Mode and size are taken of what is read, should it change meanwhile."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    with open(descriptor, "rb", buffering=0) as file:
        executable = bool(os.fstat(descriptor).st_mode & 0o111)
        size = 0
        blocks: list[str] = []
        for block in _blocks(file.fileno()):
            size += len(block)
            blocks.append(hash_of(block))
    return File(name, executable, size, tuple(blocks))


def _blocks(descriptor: int) -> Iterator[bytes]:
    pending = b""
    while piece := os.read(descriptor, 32 * BLOCK_BYTES):
        pending += piece
        whole = len(pending) - len(pending) % BLOCK_BYTES
        for start in range(0, whole, BLOCK_BYTES):
            yield pending[start : start + BLOCK_BYTES]
        pending = pending[whole:]
    if pending:
        yield pending


# The file's form.


def _lines(directories: Iterable[Directory]) -> Iterator[bytes]:
    for directory in directories:
        yield b"/%b\n" % _escape(directory.path)
        for entry in directory.entries:
            if isinstance(entry, Link):
                yield b"  %b s %b\n" % (_escape(entry.name), _escape(entry.target))
            else:
                hashes = "".join(f" {block}" for block in entry.blocks).encode()
                kind = b"x" if entry.executable else b"f"
                yield b"  %b %b %d%b\n" % (_escape(entry.name), kind, entry.size, hashes)


def parse_index(data: bytes) -> Index:
    """Read an index. Only the one form that `to_bytes` writes is taken, so equal ids mean equal bytes.

    Raises:
        ImageMalformed: with the line.
    """
    if len(data) > INDEX_BYTES_MAX:
        raise ImageMalformed(f"index of {len(data)} bytes; at most {INDEX_BYTES_MAX} are read")
    header, _, rest = data.partition(b"\n")
    if header != HEADER:
        raise ImageMalformed("index:1:1: unknown header; `DIRSIGNATURE.v1 sha512/256 block_size=32768` would be right")
    lines = rest.split(b"\n")
    if len(lines) < 3 or lines[-1] != b"" or not _HASH.fullmatch(lines[-2]):
        raise ImageMalformed(f"index:{len(lines)}:1: the last line is no hash; the index is cut off")
    index = Index(tuple(_parse_directories(lines[:-2])))
    if index.id.encode() != lines[-2]:
        raise ImageMalformed(f"index:{len(lines)}:1: the hash of the lines is another; the index was changed")
    if index.to_bytes() != data:
        raise ImageMalformed("index:2:1: not in the one form an index has")
    return index


def _parse_directories(lines: list[bytes]) -> Iterator[Directory]:
    path: bytes | None = None
    entries: list[Entry] = []
    known: set[bytes] = set()  # directories so far: a parent always comes before
    names: set[bytes] = set()  # paths of files and links so far
    for number, line in enumerate(lines, start=2):
        at = f"index:{number}"
        if line.startswith(b"/"):
            if path is not None:
                yield Directory(path, tuple(entries))
            path, previous, entries = _parse_path(line[1:], f"{at}:2"), path, []
            if previous is None and path:
                raise ImageMalformed(f"{at}:1: the root `/` is missing before it")
            if previous is not None and _sorting_key(path) <= _sorting_key(previous):
                raise ImageMalformed(f"{at}:1: directory out of order")
            if path and path.rpartition(b"/")[0] not in known:
                raise ImageMalformed(f"{at}:1: the directory above is missing")
            if path in names:
                raise ImageMalformed(f"{at}:1: this path is a file and a directory")
            known.add(path)
        elif line.startswith(b"  ") and path is not None:
            entry = _parse_entry(line[2:], at)
            if entries and entry.name <= entries[-1].name:
                raise ImageMalformed(f"{at}:3: entry out of order")
            entries.append(entry)
            names.add(path + b"/" + entry.name if path else entry.name)
        else:
            raise ImageMalformed(f"{at}:1: neither a directory nor an entry of one")
    if path is None:
        raise ImageMalformed("index:2:1: the root `/` is missing")
    yield Directory(path, tuple(entries))


def _parse_entry(text: bytes, at: str) -> Entry:
    words = text.split(b" ")
    if len(words) < 3:
        raise ImageMalformed(f"{at}:3: `NAME f SIZE HASH...`, `NAME x SIZE HASH...` or `NAME s TARGET` would be right")
    name = _parse_name(words[0], f"{at}:3")
    kind, rest = words[1], words[2:]
    if kind == b"s" and len(rest) == 1 and rest[0]:
        return Link(name, _unescape(rest[0], f"{at}:3"))
    if kind not in (b"f", b"x") or not re.fullmatch(rb"0|[1-9][0-9]{0,17}", rest[0]):
        raise ImageMalformed(f"{at}:3: `NAME f SIZE HASH...`, `NAME x SIZE HASH...` or `NAME s TARGET` would be right")
    size, blocks = int(rest[0]), rest[1:]
    if len(blocks) != -(-size // BLOCK_BYTES) or not all(_HASH.fullmatch(block) for block in blocks):
        raise ImageMalformed(f"{at}:3: {size} bytes need {-(-size // BLOCK_BYTES)} hashes of 64 hexadecimal digits")
    return File(name, kind == b"x", size, tuple(block.decode() for block in blocks))


def _parse_path(text: bytes, at: str) -> bytes:
    if not text:
        return b""
    components = text.split(b"/")
    if len(components) > DEPTH_MAX:
        raise ImageMalformed(f"{at}: more than {DEPTH_MAX} directories deep")
    return b"/".join(_parse_name(component, at) for component in components)


def _parse_name(text: bytes, at: str) -> bytes:
    name = _unescape(text, at)
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name or len(name) > 255:
        raise ImageMalformed(f"{at}: this is no name a file can have")
    return name


def _escape(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: b"\\x%02x" % match[0][0], text)


def _unescape(text: bytes, at: str) -> bytes:
    plain = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text)
    if _escape(plain) != text:
        raise ImageMalformed(f"{at}: wrongly escaped name; `\\xNN` in place of blanks, backslashes and other bytes")
    return plain


def _sorting_key(path: bytes) -> list[bytes]:
    return path.split(b"/") if path else []


def differences(announced: Index, found: Index) -> Iterator[str]:
    """What is wrong with a tree, path by path."""
    expected, there = announced.entries(), found.entries()
    for path in sorted(expected.keys() | there.keys()):
        shown = os.fsdecode(path) or "/"
        if path not in there:
            yield f"{shown}: missing"
        elif path not in expected:
            yield f"{shown}: not part of the image"
        elif expected[path] != there[path]:
            yield f"{shown}: other contents than announced"
