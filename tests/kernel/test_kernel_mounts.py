"""Mounts, in a mount namespace of their own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from own_namespaces import in_own_namespaces

from manor.kernel import mounts, namespaces


def test_a_line_of_the_mount_table_is_taken_apart() -> None:
    line = r"36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue" "\n"
    assert mounts.parse_mount(line) == mounts.Mount(
        id=36,
        parent=35,
        device="98:0",
        root="/mnt1",
        target="/mnt 2\\x",
        options=("rw", "noatime"),
        propagation=("shared:1", "master:2"),
        fstype="ext3",
        source="/dev/root",
        super_options=("rw", "errors=continue"),
    )
    private = mounts.parse_mount("1 0 0:5 / /proc rw - proc proc rw\n")
    assert (private.propagation, private.fstype) == ((), "proc")


def test_a_mount_comes_goes_and_is_seen(tmp_path: Path) -> None:
    place = tmp_path / "a b"
    place.mkdir()

    def story() -> tuple[bool, str, bool]:
        mounts.mount("tmpfs", place, "tmpfs", mounts.MS_NOSUID, "size=1m,mode=700")
        (found,) = (m for m in mounts.read_mounts() if m.target == str(place))
        there = mounts.is_mount_point(place)
        mounts.unmount(place)
        return there, found.fstype, mounts.is_mount_point(place)

    assert in_own_namespaces(story) == (True, "tmpfs", False)


def test_an_error_is_the_kernels_word_about_the_target(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such device") as caught:
        mounts.mount("none", tmp_path, "no-such-file-system")
    assert (caught.value.errno, caught.value.filename) == (errno.ENODEV, str(tmp_path))
    with pytest.raises(OSError, match="Invalid argument"):
        mounts.unmount(tmp_path)


def test_a_read_only_bind_is_so_for_all_that_is_mounted_below(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    target.mkdir()

    def story() -> list[str]:
        mounts.mount("tmpfs", source / "sub", "tmpfs", mounts.MS_NOSUID)
        mounts.bind(source, target, read_only=True)
        refused = []
        for path in (target / "file", target / "sub/file", source / "file", source / "sub/file"):
            try:
                path.touch()
            except OSError as error:
                refused.append(f"{path.relative_to(tmp_path)}: {error.strerror}")
        (below,) = (m for m in mounts.read_mounts() if m.target == str(target / "sub"))
        assert "nosuid" in below.options  # what the mount had, it keeps
        return refused

    assert in_own_namespaces(story) == [
        "target/file: Read-only file system",
        "target/sub/file: Read-only file system",
    ]


def test_a_bind_without_what_is_mounted_below(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    target.mkdir()

    def story() -> bool:
        mounts.mount("tmpfs", source / "sub", "tmpfs")
        mounts.bind(source, target, recursive=False)
        return mounts.is_mount_point(target / "sub")

    assert in_own_namespaces(story) is False


def test_an_overlay_shows_the_uppermost_and_writes_to_upper(tmp_path: Path) -> None:
    tmp = tmp_path / "odd: name, with \\ in it"
    one, two, upper, work, target = (tmp / name for name in ("one", "two", "upper", "work", "target"))
    for directory in (one, two, upper, work, target):
        directory.mkdir(parents=True)
    (one / "file").write_text("one")
    (two / "file").write_text("two")
    (two / "only").write_text("two")

    def story() -> tuple[str, str]:
        mounts.mount("tmpfs", tmp_path / "tmpfs", "tmpfs")  # an upper directory must not lie on an overlay
        upper, work = tmp_path / "tmpfs/up,per", tmp_path / "tmpfs/wo:rk"
        upper.mkdir()
        work.mkdir()
        mounts.overlay(target, lower=[one, two], upper=upper, work=work)
        (target / "new").write_text("new")
        assert (upper / "new").read_text() == "new"
        return (target / "file").read_text(), (target / "only").read_text()

    (tmp_path / "tmpfs").mkdir()
    assert in_own_namespaces(story) == ("one", "two")


def test_an_overlay_of_more_layers_than_one_page_of_options_can_name(tmp_path: Path) -> None:
    layers = [tmp_path / f"a-layer-with-a-rather-long-name-{number:03}" for number in range(120)]
    for number, layer in enumerate(layers):
        layer.mkdir()
        (layer / f"file{number}").touch()
    target = tmp_path / "target"
    target.mkdir()
    assert sum(len(str(layer)) for layer in layers) > os.sysconf("SC_PAGE_SIZE")

    def story() -> int:
        mounts.overlay(target, lower=layers)
        return len(os.listdir(target))

    assert in_own_namespaces(story) == 120


def test_an_overlay_has_upper_and_work_or_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an upper directory and a work directory, or none of the two"):
        mounts.overlay(tmp_path, lower=[tmp_path], upper=tmp_path)


@pytest.mark.parametrize("keep_old", [False, True])
def test_the_root_is_changed_and_the_old_one_let_go_or_kept(tmp_path: Path, keep_old: bool) -> None:
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "old").mkdir()
    (root / "here").touch()

    def story() -> tuple[list[str], bool]:
        mounts.bind(root, root)
        if keep_old:
            mounts.pivot_root(root, root / "old")
        else:
            mounts.pivot_root(root)
        assert os.getcwd() == "/"
        return sorted(os.listdir("/")), os.path.exists("/old/etc")

    assert in_own_namespaces(story) == (["here", "old", "proc"], keep_old)


def test_several_namespaces_are_entered_at_once_by_pidfd() -> None:
    """Of a child that has made its own; the host name tells in which one we are."""

    def story() -> str:
        made, go = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            namespaces.unshare(namespaces.NEWUTS | namespaces.NEWNET | namespaces.NEWIPC)
            Path("/proc/sys/kernel/hostname").write_text("elsewhere")
            os.write(made[1], b"x")
            os.read(go[0], 1)
            os._exit(0)
        os.read(made[0], 1)
        pidfd = os.pidfd_open(pid)
        namespaces.enter(pidfd, namespaces.NEWUTS | namespaces.NEWNET | namespaces.NEWIPC)
        os.write(go[1], b"x")
        os.waitpid(pid, 0)
        return os.uname().nodename

    assert in_own_namespaces(story) == "elsewhere"


def test_a_namespace_that_is_none_is_told_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match="Invalid argument") as caught:
        namespaces.enter(file)
    assert caught.value.filename == str(file)
