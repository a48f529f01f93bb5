"""Projects to build in. The cache, with one Debian base, is shared by all tests and kept between runs."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable, Iterator

import pytest
from vagga_projects import USER, ProjectFolder, ensure_user, make_tiny, own_project, settings_text, shared_cache


@pytest.fixture
def project() -> Iterator[ProjectFolder]:
    """An empty project of the user who runs the tests."""
    with own_project() as made:
        yield made


@pytest.fixture
def users_project() -> Iterator[ProjectFolder]:
    """A project of an ordinary user with 65,536 subordinate ids, in a directory that this user can reach."""
    if os.getuid() != 0:
        pytest.fail("these tests make a user; run them as root, or all others with `-m 'not system'`")
    ensure_user()
    entry = pwd.getpwnam(USER)
    with own_project() as made:
        cache = made.root.parent / "cache"
        cache.mkdir()
        seeded = shared_cache() / "bases"
        if seeded.exists():
            shutil.copytree(seeded, cache / "bases", ignore=shutil.ignore_patterns(".tmp.*", "*.lock"))
        for place in (made.root, made.home, cache, *cache.rglob("*")):
            os.chown(place, entry.pw_uid, entry.pw_gid)
        made.user, made.settings = USER, settings_text(cache)
        yield made


@pytest.fixture
def tiny(project: ProjectFolder) -> Callable[..., ProjectFolder]:
    """Write a vagga.yaml whose container `tiny` has a shell and a few programs; more can be added."""
    return lambda **parts: make_tiny(project, **parts)
