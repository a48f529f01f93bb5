"""Projects to build in. The cache, with one Debian base, is shared by all tests and kept between runs."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vagga_projects import USER, ProjectFolder, ensure_user, make_tiny, settings_text, shared_cache

from manor.vagga.durable import remove_tree


@pytest.fixture
def project(tmp_path: Path) -> Iterator[ProjectFolder]:
    """An empty project of the user who runs the tests."""
    root = (tmp_path / "project").resolve()
    home = (tmp_path / "home").resolve()
    root.mkdir()
    home.mkdir()
    yield ProjectFolder(root, home, settings_text(shared_cache()))
    remove_tree(root)


@pytest.fixture
def second_project(tmp_path: Path) -> Iterator[ProjectFolder]:
    """Another one, in another directory."""
    root = (tmp_path / "elsewhere/second").resolve()
    root.mkdir(parents=True)
    yield ProjectFolder(root, (tmp_path / "home").resolve(), settings_text(shared_cache()))
    remove_tree(root)


@pytest.fixture
def users_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectFolder]:
    """A project of an ordinary user with 65,536 subordinate ids, in a directory that this user can reach."""
    if os.getuid() != 0:
        pytest.fail("these tests make a user; run them as root, or all others with `-m 'not system'`")
    ensure_user()
    entry = pwd.getpwnam(USER)
    home = Path(entry.pw_dir)
    cache = home / "cache"
    cache.mkdir(exist_ok=True)
    bases = cache / "bases"
    if not bases.exists():
        seeded = shared_cache() / "bases"
        if seeded.exists():
            shutil.copytree(seeded, bases, ignore=shutil.ignore_patterns(".tmp.*", "*.lock"))
    subprocess.run(["chown", "-R", f"{USER}:{entry.pw_gid}", cache], check=True)
    root = home / f"project-{os.getpid()}-{tmp_path_factory.mktemp('name').name}"
    root.mkdir()
    os.chown(root, entry.pw_uid, entry.pw_gid)
    yield ProjectFolder(root, home, settings_text(cache), user=USER)
    remove_tree(root)


@pytest.fixture
def tiny(project: ProjectFolder) -> Callable[..., ProjectFolder]:
    """Write a vagga.yaml whose container `tiny` has a shell and a few programs; more can be added."""
    return lambda **parts: make_tiny(project, **parts)
