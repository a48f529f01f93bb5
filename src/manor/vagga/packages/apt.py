"""apt in a root that is being built. Lists and archives are in the cache directory, never in a layer.

Each step sees the cache through an overlay of its own; what it fetched is put into the cache when it has succeeded.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from manor.vagga.durable import remove_tree, temporary
from manor.vagga.packages.host_apt import transport_options

if TYPE_CHECKING:
    from manor.vagga.guest import Guest

LISTS: Final = "/var/lib/apt/lists"
ARCHIVES: Final = "/var/cache/apt"
LISTS_FRESH_S: Final = 12 * 3600.0
UPDATED: Final = "vagga-updated"  # a file in the cached lists; its time is that of the last update
HOST_OPTIONS: Final = "/run/vagga/apt.conf"
CLEANED: Final = (
    "/var/cache/apt/pkgcache.bin", "/var/cache/apt/srcpkgcache.bin", "/var/cache/ldconfig/aux-cache",
    "/var/log/alternatives.log", "/var/log/apt", "/var/log/bootstrap.log", "/var/log/dpkg.log", "/var/spool/rsyslog",
)  # fmt: skip


class Apt:
    """Installs packages in one step."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        assert guest.state.distribution is not None
        self._codename = guest.state.distribution.codename

    def install(self, packages: Sequence[str], *, for_build: Sequence[str] = ()) -> None:
        """Packages that stay, and others that only the build needs; already installed ones are left as they are."""
        state = self._guest.state
        self._install([*packages, *for_build])
        names = [_name(p) for p in packages]
        state.requested = sorted({*state.requested, *names})
        wanted = {*state.build_dependencies, *(_name(p) for p in for_build)}
        state.build_dependencies = sorted(wanted - set(state.requested))

    def install_for_build(self, packages: Sequence[str]) -> None:
        """Packages that are removed at the end unless a step installs them on request."""
        self.install((), for_build=packages)

    def _install(self, packages: Iterable[str]) -> None:
        words = ["install", "--yes", *packages]
        if len(words) == 2:
            return
        self._mount_cache()
        if self._lists_are_fresh():
            try:
                self._apt_get(words)
                return
            except Exception as error:
                if type(error).__name__ != "StepFailed":
                    raise
        self._update()
        self._apt_get(words)

    def remove_build_dependencies(self) -> None:
        """At the end: what only the build needed goes, what others need stays."""
        state = self._guest.state
        if not state.build_dependencies:
            return
        self._mount_cache()
        self._guest.run(["apt-mark", "auto", *state.build_dependencies])
        # without these apt keeps a compiler because it suggests dpkg-dev itself
        unimportant = [f"-oAPT::AutoRemove::{kind}Important=false" for kind in ("Recommends", "Suggests")]
        self._apt_get(["autoremove", "--yes", *unimportant])
        state.build_dependencies = []

    def clean(self) -> None:
        """Delete logs and caches that would differ from build to build."""
        guest = self._guest
        for path in CLEANED:
            guest.remove(path)
        for pattern in ("var/lib/apt/lists", "var/cache/apt/archives"):
            if (guest.root / pattern).is_dir():
                guest.empty_directory("/" + pattern)
        for old in (guest.root / "var/lib/dpkg").glob("*-old"):
            old.unlink()

    def package_list(self) -> bytes:
        """`dpkg -l`."""
        import subprocess

        return subprocess.run(
            ["dpkg-query", f"--admindir={self._guest.root}/var/lib/dpkg", "--list"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LANG": "C.UTF-8", "COLUMNS": "200", "PATH": os.environ.get("PATH", "/usr/bin")},
            check=False,
        ).stdout

    def _apt_get(self, words: Sequence[str]) -> None:
        self._guest.run(["apt-get", *words], environ={"APT_CONFIG": HOST_OPTIONS})

    def _mount_cache(self) -> None:
        guest = self._guest
        guest.mount()
        options = guest.root / HOST_OPTIONS.lstrip("/")
        if options.exists():
            return
        options.parent.mkdir(exist_ok=True)
        options.write_text(
            "\n".join(
                [
                    *transport_options(),
                    'APT::Sandbox::User "root";',
                    'APT::Keep-Downloaded-Packages "true";',
                    'Binary::apt-get::APT::Keep-Downloaded-Packages "true";',
                    "",
                ]
            )
        )
        for host, path in ((self._archive_cache, ARCHIVES), (self._list_cache, LISTS)):
            (host / "partial").mkdir(exist_ok=True)
            guest.mount_view(host, path, save=self._save_archives if path == ARCHIVES else self._save_lists)
        (guest.root / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)

    @property
    def _archive_cache(self) -> Path:
        return self._guest.cache_directory(f"apt-cache/{self._codename}")

    @property
    def _list_cache(self) -> Path:
        return self._guest.cache_directory(f"apt-lists-{self._codename}")

    def _lists_are_fresh(self) -> bool:
        stamp = self._guest.root / LISTS.lstrip("/") / UPDATED
        return stamp.exists() and time.time() - stamp.stat().st_mtime < LISTS_FRESH_S

    def _update(self) -> None:
        from manor.vagga.guest import StepFailed

        try:
            self._apt_get(["update"])
        except StepFailed as error:
            mirror = self._guest.settings.debian_mirror or "the official one"
            raise StepFailed(
                f"{error}; the mirror in effect is {mirror}, the setting `debian-mirror` changes it"
            ) from error
        (self._guest.root / LISTS.lstrip("/") / UPDATED).touch()

    def _save_archives(self, upper: Path) -> None:
        """New packages, each renamed into its place; the same name is the same package."""
        for package in (upper / "archives").glob("*.deb"):
            place = self._archive_cache / "archives" / package.name
            place.parent.mkdir(exist_ok=True)
            if not place.exists():
                unfinished = temporary(place)
                shutil.copyfile(package, unfinished)
                os.replace(unfinished, place)

    def _save_lists(self, upper: Path) -> None:
        """Updated lists replace the cached ones as a whole."""
        if not (upper / UPDATED).exists():
            return
        final = self._list_cache
        unfinished, old = temporary(final), temporary(final).with_name(temporary(final).name + ".old")
        for leftover in (unfinished, old):
            remove_tree(leftover)
        unfinished.mkdir()
        for item in sorted(upper.iterdir()):
            if item.is_file():
                shutil.copy2(item, unfinished / item.name)
        for item in sorted(final.iterdir()):  # unchanged ones are not in the upper directory
            if item.is_file() and not os.path.lexists(upper / item.name):
                shutil.copy2(item, unfinished / item.name)
        os.rename(final, old)
        os.rename(unfinished, final)
        remove_tree(old)


def _name(package: str) -> str:
    """`bc=1.07-3` -> `bc`."""
    return package.partition("=")[0].partition("/")[0].rstrip("<>").strip()
