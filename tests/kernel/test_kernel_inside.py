"""Nothing that lies in a root leads out of it."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from manor.kernel import inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/hosts").write_text("inside")
    (root / "absolute").symlink_to("/etc/hosts")
    (root / "upwards").symlink_to("../secret")
    (root / "dir").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    return root


def test_links_and_dots_end_at_the_root(root: Path) -> None:
    for path in ("etc/hosts", "/etc/hosts", "absolute", "dir/hosts", "../../etc/hosts", "/dir/../dir/hosts"):
        assert inside.read_inside(root, path, 100) == b"inside"
    with pytest.raises(FileNotFoundError):
        inside.read_inside(root, "upwards", 100)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        inside.read_inside(root, "loop", 100)


def test_a_root_may_be_a_descriptor_and_errors_name_the_path(root: Path) -> None:
    fd = os.open(root, os.O_PATH)
    assert inside.read_inside(fd, "/absolute", 100) == b"inside"
    with pytest.raises(FileNotFoundError) as caught:
        inside.read_inside(fd, "/no/such", 100)
    assert caught.value.filename == "/no/such"
    os.close(fd)


def test_opened_descriptors_are_close_on_exec(root: Path) -> None:
    fd = inside.open_inside(root, "etc/hosts")
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_only_regular_files_of_bounded_size_are_read(root: Path) -> None:
    (root / "large").write_bytes(b"x" * 101)
    (root / "exact").write_bytes(b"x" * 100)
    os.mkfifo(root / "pipe")
    assert len(inside.read_inside(root, "exact", 100)) == 100
    for path, number in (("large", errno.EFBIG), ("pipe", errno.EINVAL), ("etc", errno.EINVAL)):
        with pytest.raises(OSError) as caught:
            inside.read_inside(root, path, 100)
        assert (caught.value.errno, caught.value.filename) == (number, path)


def test_without_links_any_link_is_refused(root: Path) -> None:
    os.close(inside.open_beneath_no_symlinks(root, "etc/hosts"))
    for path, number in (
        ("dir/hosts", errno.ELOOP),
        ("absolute", errno.ELOOP),
        ("../secret", errno.EXDEV),
        ("/etc/hosts", errno.EXDEV),
    ):
        with pytest.raises(OSError) as caught:
            inside.open_beneath_no_symlinks(root, path)
        assert caught.value.errno == number


def test_directories_are_made_along_links_and_never_outside(root: Path) -> None:
    fd = inside.make_directories_inside(root, "/dir/a/b", 0o700)
    os.close(fd)
    assert stat.S_IMODE((root / "etc/a/b").stat().st_mode) == 0o700
    os.close(inside.make_directories_inside(root, "dir/a/b", 0o755))  # there already: left as it is
    assert stat.S_IMODE((root / "etc/a").stat().st_mode) == 0o700
    (root / "out").symlink_to("../../new")
    with pytest.raises(FileNotFoundError):
        inside.make_directories_inside(root, "out/x")
    assert not (root.parent / "new").exists()


def test_the_last_part_is_handled_by_its_directory(root: Path) -> None:
    with inside.open_parent_inside(root, "/dir/new") as (parent, name):
        os.symlink("hosts", name, dir_fd=parent)
    assert os.readlink(root / "etc/new") == "hosts"
    assert stat.S_ISLNK(inside.stat_inside(root, "dir/new", follow=False).st_mode)
    assert stat.S_ISREG(inside.stat_inside(root, "dir/new").st_mode)
    for path in ("/", "etc/..", ""):
        with pytest.raises(OSError, match="the path has no last part"), inside.open_parent_inside(root, path):
            pass


def test_a_directory_swapped_for_a_link_while_we_look_never_leads_out(root: Path) -> None:
    """Somebody in the container renames as fast as he can; we always read the inside, or an error."""
    (root / "a").mkdir()
    (root / "a/file").write_text("inside")
    (root.parent / "file").write_text("outside")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(root / "a", root / "b")
            os.symlink("..", root / "a")
            os.unlink(root / "a")
            os.rename(root / "b", root / "a")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        for _ in range(2000):
            try:
                seen.add(inside.read_inside(root, "a/file", 100))
            except OSError as error:
                assert error.errno in {errno.ENOENT, errno.EAGAIN}
    finally:
        stop.set()
        swapper.join()
    assert seen <= {b"inside"}
