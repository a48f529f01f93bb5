"""The root a command sees, put together from mounts: the image, /dev, /sys, /work, volumes, resolv.conf, hosts.

Runs inside the enclosure. All mounts but /proc are made here rather than by the runtime: the runtime ignores the mode
of a tmpfs, cannot say in our words what is missing, and could not tell whether the program to run exists. The stage is
a tmpfs, and goes with the mount namespace: nothing of it is ever seen outside.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.kernel import inside, mounts
from manor.vagga.config import Container
from manor.vagga.durable import temporary
from manor.vagga.errors import SetupError, warn
from manor.vagga.paths import normal
from manor.vagga.settings import Settings, expanded
from manor.vagga.store import Store
from manor.vagga.volumes.interface import Volume
from manor.vagga.volumes.tmpfs import DEFAULT_RUN, DEFAULT_TMP

RUNTIME_MOUNTS: Final = ("/proc",)
HOST_TREES: Final = {"/dev": "/dev", "/sys": "/sys"}


@dataclass(frozen=True, slots=True)
class View:
    """What the root is made of.

    Attributes:
        lower: the image, or layers from the uppermost down.
        upper: where a writable root keeps its changes; None: read-only.
    """

    lower: Sequence[Path]
    upper: Path | None = None


class Stage:
    """One root being put together below `place`."""

    def __init__(self, place: Path, project: Path, store: Store, settings: Settings) -> None:
        self.place = place
        self.root = place / "root"
        self.project = project
        self._store = store
        self._settings = settings

    def assemble(self, view: View, container: Container, volumes: Mapping[str, Volume]) -> None:
        """Make all mounts, in the order of their paths."""
        mounts.mount("tmpfs", self.place, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=0755")
        self.root.mkdir()
        wanted = {"/tmp": DEFAULT_TMP, "/run": DEFAULT_RUN, **{normal(path): v for path, v in volumes.items()}}
        host_files = self._host_files(container, wanted)
        points = self._mount_points(wanted, host_files)
        self._mount_root(view, points)
        for path in sorted(points, key=lambda p: p.split("/")):
            if path in wanted:
                wanted[path].mount(self, path)
            elif path in HOST_TREES:
                self._bind_tree(HOST_TREES[path], path)
            elif path == "/work":
                self._bind_tree(str(self.project), path)
            elif path in host_files:
                self._bind_host_file(host_files[path], path)
        if "/dev" not in wanted:
            self._mount_terminals()

    def _host_files(self, container: Container, wanted: Mapping[str, object]) -> dict[str, str]:
        """Path inside -> file of the host."""
        pairs = ((container.resolv_conf_path, "/etc/resolv.conf"), (container.hosts_file_path, "/etc/hosts"))
        return {normal(p): host for p, host in pairs if p and normal(p) not in wanted and os.path.exists(host)}

    def _mount_points(self, wanted: Mapping[str, Volume], host_files: Mapping[str, str]) -> dict[str, bool]:
        """Path -> must it be a directory?"""
        points = dict.fromkeys((*HOST_TREES, *RUNTIME_MOUNTS, "/work"), True) | dict.fromkeys(host_files, False)
        for path, volume in wanted.items():
            source = volume.source(self)
            points[path] = source is None or os.path.isdir(source)
        return points

    # The root

    def _mount_root(self, view: View, points: Mapping[str, bool]) -> None:
        lower = [*self._thin_layer(view, points), *view.lower]
        if view.upper is not None:
            (view.upper / "diff").mkdir(parents=True)
            (view.upper / "work").mkdir()
            options = {"userxattr": None, "volatile": None}
            mounts.overlay(self.root, lower=lower, upper=view.upper / "diff", work=view.upper / "work", options=options)
        elif len(lower) > 1:
            mounts.overlay(self.root, lower=lower, options={"userxattr": None})
        else:
            mounts.bind(lower[0], self.root, read_only=True, recursive=False)

    def _thin_layer(self, view: View, points: Mapping[str, bool]) -> list[Path]:
        """Mount points that the image lacks, in a layer of their own that leaves no trace in it."""
        if view.upper is None and len(view.lower) > 1:
            return []
        image = view.lower[0]
        missing = [path for path in sorted(points) if len(view.lower) == 1 and not _is_there(image, path)]
        if not missing:
            return []
        thin = self.place / "thin"
        thin.mkdir()
        _copy_look(image, thin)
        for path in missing:
            self._provide(image, thin, path, is_directory=points[path])
        return [thin]

    def _provide(self, image: Path, thin: Path, path: str, *, is_directory: bool) -> None:
        """One missing mount point, its parents looking like those of the image."""
        words = path.strip("/").split("/")
        for length in range(1, len(words)):
            above = "/".join(words[:length])
            place = thin / above
            if not place.exists():
                place.mkdir(0o755)
                if (image / above).is_symlink():
                    raise SetupError(
                        f"the mount point `{path}` lies behind the link `/{above}`; add `!EnsureDir {path}`"
                    )
                if (image / above).is_dir():
                    _copy_look(image / above, place)
        place = thin / path.strip("/")
        if is_directory:
            place.mkdir(0o755, exist_ok=True)
        elif not place.exists():
            place.touch(0o644)

    # Mounting at a path of the container

    def _at(self, path: str, *, directory: bool | None) -> str:
        """The mount point as this process sees it."""
        try:
            fd = inside.open_inside(self.root, path, os.O_PATH)
        except OSError as error:
            raise SetupError(
                f"the mount point `{path}` does not exist ({error.strerror}); add `!EnsureDir {path}`"
            ) from None
        try:
            is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
            if directory is not None and directory != is_directory:
                kinds = ("a directory", "a file") if directory else ("a file", "a directory")
                raise SetupError(f"the mount point `{path}` has to be {kinds[0]} and is {kinds[1]}; change the image")
            return os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    def mount_tmpfs(self, path: str, *, size: int, mode: int, read_only: bool = False) -> Path:
        """A new tmpfs; its place as this process sees it."""
        at = self._at(path, directory=True)
        flags = mounts.MS_NOSUID | mounts.MS_NODEV | (mounts.MS_RDONLY if read_only else 0)
        mounts.mount("tmpfs", at, "tmpfs", flags, f"size={size},mode={mode:o}")
        return Path(at)

    def bind(self, source: str, path: str, *, read_only: bool) -> None:
        """Show a file or directory of the host."""
        at = self._at(path, directory=os.path.isdir(source))
        try:
            mounts.bind(source, at, read_only=read_only)
        except OSError as error:
            raise SetupError(f"cannot mount `{source}` at `{path}`: {error.strerror}") from error

    def _bind_tree(self, host: str, path: str) -> None:
        mounts.bind(host, self._at(path, directory=True))

    def _bind_host_file(self, host: str, path: str) -> None:
        try:
            at = self._at(path, directory=False)
        except SetupError:
            warn(f"`{path}` leads nowhere in the image; the host's {host} is not mounted")
            return
        mounts.bind(os.path.realpath(host), at, read_only=True, recursive=False)

    def _mount_terminals(self) -> None:
        at = self._at("/dev/pts", directory=True)
        mounts.mount("devpts", at, "devpts", mounts.MS_NOSUID | mounts.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")

    # Where volumes come from

    def bind_source(self, path: str) -> Path:
        """The host's file behind `/work/…` or `/volumes/NAME/…`."""
        words = path.strip("/").split("/")
        if words[0] == "work":
            place = self.project.joinpath(*words[1:])
        elif words[0] == "volumes" and len(words) > 1:
            known = self._settings.external_volumes.get(words[1])
            if known is None:
                raise SetupError(f"the settings name no volume `{words[1]}`; add it to `external-volumes`")
            place = Path(expanded(known, os.environ.get("HOME", "/"))).joinpath(*words[2:])
        else:
            raise SetupError(f"`{path}` cannot be bound; only paths below `/work` and `/volumes/NAME` can")
        if not place.exists():
            raise SetupError(f"the source of the volume, `{path}`, does not exist; create {place}")
        return place

    def persistent_volume(self, name: str, uid: int, gid: int) -> Path:
        """The directory of a persistent volume, made with its owner when it is first used."""
        final = self._store.volumes / name
        if not final.exists():
            unfinished = temporary(final)
            try:
                unfinished.mkdir(0o755)
                os.chown(unfinished, uid, gid)
                os.rename(unfinished, final)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    raise SetupError(
                        f"the owner {uid}:{gid} of volume `{name}` is not mapped; add it to `uids` and `gids`"
                    ) from None
                if not final.exists():
                    raise SetupError(f"cannot make the volume `{name}`: {error.strerror}") from error
                os.rmdir(unfinished)
        return final

    def cache_directory(self, name: str) -> Path:
        """A directory of the cache."""
        if not name or name.startswith("/") or ".." in name.split("/"):
            raise SetupError(f"`!CacheDir {name}` is no name; it must be relative, not empty, and without `..`")
        place = self._store.cache / name
        place.mkdir(parents=True, exist_ok=True)
        return place


def _is_there(image: Path, path: str) -> bool:
    try:
        inside.stat_inside(image, path)
    except OSError:
        return False
    return True


def _copy_look(source: Path, target: Path) -> None:
    """Owner and mode."""
    status = source.stat()
    os.chown(target, status.st_uid, status.st_gid)
    target.chmod(stat.S_IMODE(status.st_mode))
