import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.delivery.errors import ImageMalformed
from manor.delivery.index import (
    BLOCK_BYTES,
    Directory,
    File,
    Index,
    Link,
    build_index,
    differences,
    hash_of,
    parse_index,
)

EMPTY = "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a"  # SHA-512/256 of nothing, FIPS 180-4
ABC = "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"


def tree(root: Path) -> Path:
    (root / "srv/a").mkdir(parents=True)
    (root / "srv-b").mkdir()
    (root / "manage.py").write_text("abc")
    (root / "manage.py").chmod(0o700)
    (root / "srv/a/empty").touch()
    (root / "srv-b/two words").write_bytes(b"x" * (BLOCK_BYTES + 1))
    (root / "link").symlink_to("srv/a/no such file")
    return root


def test_the_hash_is_that_of_fips_180_4() -> None:
    assert (hash_of(b""), hash_of(b"abc")) == (EMPTY, ABC)


def test_an_index_is_written_as_it_is_described(tmp_path: Path) -> None:
    index = build_index(tree(tmp_path))
    lines = [
        "/",
        "  link s srv/a/no\\x20such\\x20file",
        f"  manage.py x 3 {ABC}",
        "/srv",
        "/srv/a",
        "  empty f 0",
        "/srv-b",
        f"  two\\x20words f 32769 {hash_of(b'x' * BLOCK_BYTES)} {hash_of(b'x')}",
    ]
    body = "".join(f"{line}\n" for line in lines).encode()
    assert index.to_bytes() == b"DIRSIGNATURE.v1 sha512/256 block_size=32768\n" + body + hash_of(body).encode() + b"\n"
    assert (index.id, index.size, index.files) == (hash_of(body), 3 + BLOCK_BYTES + 1, 4)
    assert parse_index(index.to_bytes()) == index


def test_owners_times_and_modes_but_the_execute_bit_do_not_change_the_id(tmp_path: Path) -> None:
    index = build_index(tree(tmp_path))
    (tmp_path / "manage.py").chmod(0o4711)
    (tmp_path / "srv").chmod(0o700)
    os.utime(tmp_path / "srv/a/empty", (5, 5))
    assert build_index(tmp_path).id == index.id
    (tmp_path / "manage.py").chmod(0o600)
    assert build_index(tmp_path).id != index.id


@pytest.mark.parametrize("kind", ["a socket", "a pipe", "a device"])
def test_what_is_neither_file_nor_directory_nor_link_is_refused_with_its_path(tmp_path: Path, kind: str) -> None:
    tree(tmp_path)
    path = tmp_path / "srv/a/odd"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        os.mknod(path, 0o20666, os.makedev(1, 3))
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            here = os.open(path.parent, os.O_PATH)
            bound.bind(f"/proc/self/fd/{here}/odd")
            os.close(here)
    with pytest.raises(ImageMalformed, match=f"{path}: is {kind}; only regular files"):
        build_index(tmp_path)


names = st.binary(min_size=1, max_size=6).filter(lambda n: n not in (b".", b"..") and not set(n) & {0, ord("/")})
files = st.tuples(st.binary(max_size=50) | st.integers(BLOCK_BYTES - 1, 2 * BLOCK_BYTES + 1).map(bytes), st.booleans())
links = st.binary(min_size=1, max_size=8).filter(lambda t: 0 not in t)
trees = st.recursive(
    st.dictionaries(names, files | links, max_size=4),
    lambda inner: st.dictionaries(names, files | links | inner, max_size=4),
    max_leaves=12,
)


def index_of(tree: dict, path: bytes = b"") -> list[Directory]:
    entries, below = [], []
    for name, content in sorted(tree.items()):
        if isinstance(content, dict):
            below += index_of(content, path + b"/" + name if path else name)
        elif isinstance(content, bytes):
            entries.append(Link(name, content))
        else:
            data, executable = content
            blocks = [data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES)]
            entries.append(File(name, executable, len(data), tuple(map(hash_of, blocks))))
    return [Directory(path, tuple(entries)), *below]


@given(tree=trees)
def test_any_index_reads_back_as_it_was_written(tree: dict) -> None:
    index = Index(tuple(sorted(index_of(tree), key=lambda d: d.path.split(b"/") if d.path else [])))
    assert parse_index(index.to_bytes()) == index


@given(tree=trees, data=st.data())
def test_no_changed_byte_goes_unnoticed(tree: dict, data: st.DataObject) -> None:
    index = Index(tuple(sorted(index_of(tree), key=lambda d: d.path.split(b"/") if d.path else [])))
    changed = bytearray(index.to_bytes())
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ImageMalformed):
        parse_index(bytes(changed))


def signed(*lines: str) -> bytes:
    body = "".join(f"{line}\n" for line in lines).encode()
    return b"DIRSIGNATURE.v1 sha512/256 block_size=32768\n" + body + hash_of(body).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "index:1:1: unknown header"),
        (signed("/").replace(b"v1", b"v2"), "index:1:1: unknown header"),
        (signed("/")[:-1], "the index is cut off"),
        (signed(), "the index is cut off"),
        (signed("/a"), "index:2:1: the root `/` is missing"),
        (signed("/", "/a/b"), "index:3:1: the directory above is missing"),
        (signed("/", "/b", "/a"), "index:4:1: directory out of order"),
        (signed("/", "/a", "/a"), "index:4:1: directory out of order"),
        (signed("/", "  a f 0", "/a"), "index:4:1: this path is a file and a directory"),
        (signed("/", "  b f 0", "  a f 0"), "index:4:3: entry out of order"),
        (signed("/", "  .. f 0"), "index:3:3: this is no name"),
        (signed("/", "  a\\x2fb f 0"), "index:3:3: wrongly escaped|no name"),
        (signed("/", "/.."), "index:3:2: this is no name"),
        (signed("/", "//etc"), "index:3:2: this is no name"),
        (signed("/", "  a\\x41 f 0"), "index:3:3: wrongly escaped name"),
        (signed("/", "  a f 1"), "index:3:3: 1 bytes need 1 hashes"),
        (signed("/", "  a f 007"), "index:3:3: `NAME f SIZE"),
        (signed("/", "  a d 0"), "index:3:3: `NAME f SIZE"),
        (signed("/", " a f 0"), "index:3:1: neither a directory"),
        (signed("/" + "/".join("d" * 300)), "index:2:2: more than 256 directories deep"),
    ],
)
def test_a_malformed_index_is_refused_with_its_line(data: bytes, message: str) -> None:
    with pytest.raises(ImageMalformed, match=message):
        parse_index(data)


def test_differences_are_told_path_by_path(tmp_path: Path) -> None:
    before = build_index(tree(tmp_path))
    (tmp_path / "manage.py").write_text("abd")
    (tmp_path / "srv/a/empty").unlink()
    (tmp_path / "new").mkdir()
    assert list(differences(before, build_index(tmp_path))) == [
        "manage.py: other contents than announced",
        "new: not part of the image",
        "srv/a/empty: missing",
    ]
