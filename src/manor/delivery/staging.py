"""The receiving side: images come in beside their final place, are verified, and become visible by one rename.

Theory of operation. `announce` answers whether an image is wanted and makes its staging directory
`IMAGE_DIR/.tmp.NAME.ID8`, where `NAME`'s slashes are pluses and ID8 begins its id. The bytes come by whatever way the
pusher has. `commit` gives the staged tree its normal form, hashes every block of it, compares the id, flushes, renames,
and writes the record. So a name exists only when it is whole, and a crash at any point leaves at most a staging
directory, which the next attempt uses and `sweep` removes after a day. A whole image without a record (a crash between
rename and record, or an image that was copied by hand) is verified and recorded when it is announced.

All of it blocks: call it in threads. One image is worked on by one thread at a time.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from manor.delivery import normal_form
from manor.delivery.configs import ConfigStore
from manor.delivery.durable import flush_directory
from manor.delivery.errors import BadUsage, Corrupt, DeliveryError, ImageMalformed, NameTaken, NoSpace
from manor.delivery.index import File, Index, build_index, differences, parse_index
from manor.delivery.messages import Announce, Announced, Commit, Committed, Progress, Record
from manor.delivery.names import check_id, check_image_name, check_sandbox_name, flat
from manor.delivery.records import Records
from manor.kernel.file_systems import sync_file_system

log = logging.getLogger(__name__)

STAGING_PREFIX: Final = ".tmp."
STAGING_KEPT_S: Final = 24 * 3600.0
SPACE_FACTOR: Final = 1.05
LINK_SOURCES_MAX: Final = 5  # delivered images looked through for files to share
DIFFERENCES_SHOWN: Final = 3
PROGRESS_KEPT: Final = 1_000  # images that are shown as failed or on their way


class Receiver:
    """One node's end of deliveries."""

    def __init__(
        self,
        image_dirs: Callable[[str], Path | None],
        state_dir: Path,
        *,
        image_levels: Callable[[str], int] = lambda _sandbox: 1,
        configs: ConfigStore | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            image_dirs: sandbox -> where its images lie; None for a sandbox this node does not have.
            state_dir: for records and indexes.
            image_levels: sandbox -> how many components its images' names have.
            configs: where runtime metadata goes; None for a node that takes none.
        """
        self.records = Records(state_dir)
        self.configs = configs
        self._image_dirs = image_dirs
        self._image_levels = image_levels
        self._now = now
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._guard = threading.Lock()
        self._progress: dict[tuple[str, str], Progress] = {}

    # What the pusher asks.

    def announce(self, announced: Announce) -> Announced:
        """Is this image wanted here?

        Raises:
            BadUsage: a bad name or id, or a sandbox this node does not have.
            NameTaken: the name exists with other contents.
            NoSpace: it would not fit.
        """
        directory = self._directory(announced.sandbox, announced.name)
        check_id(announced.id)
        with self._lock(announced.sandbox, announced.name):
            if self._has(directory, announced.sandbox, announced.name, announced.id, announced.source):
                return Announced(state="have")
            _check_space(directory, announced.size)
            staging = _staging(directory, announced.name, announced.id)
            staging.mkdir(mode=0o700, exist_ok=True)
            os.utime(staging)  # `sweep` counts the day from the last attempt
            index = self.records.index(announced.id)
            delivered = self._delivered(directory, announced.sandbox)
            if index is not None:
                self._link(index, staging, delivered)
            self._note(announced.sandbox, announced.name, Progress(state="receiving", id=announced.id))
        return Announced(
            state="wanted",
            staging=os.fspath(staging),
            link_dest=os.fspath(delivered[0][1]) if delivered else None,
            index_known=index is not None,
        )

    def put_index(self, id_: str, data: bytes) -> None:
        """Keep an index that is announced or will be."""
        check_id(id_)
        index = parse_index(data)
        if index.id != id_:
            raise Corrupt(f"this index has the id {index.id}")
        self.records.write_index(index)

    def commit(self, commit: Commit) -> Committed:
        """Verify what has come and make it visible.

        Raises:
            BadUsage: nothing was announced.
            Corrupt: it is not what was announced; the paths, as far as they are known.
            ImageMalformed: something in it that no image has.
            NameTaken: meanwhile the name got other contents.
        """
        directory = self._directory(commit.sandbox, commit.name)
        check_id(commit.id)
        with self._lock(commit.sandbox, commit.name):
            if self._has(directory, commit.sandbox, commit.name, commit.id, ""):
                return Committed()
            staging = _staging(directory, commit.name, commit.id)
            if not staging.is_dir():
                raise BadUsage(f"{commit.sandbox}/{commit.name} was not announced here; announce it first")
            self._note(commit.sandbox, commit.name, Progress(state="verifying", id=commit.id, done=1.0))
            try:
                index = self._verify(staging, commit.id)
                sync_file_system(staging)  # thousands of files: one wait for the disk, not one for each
                self._reveal(staging, directory / commit.name)
            except (DeliveryError, OSError) as error:
                self._note(commit.sandbox, commit.name, Progress(state="failed", id=commit.id, error=str(error)))
                raise
            self._record(commit.sandbox, commit.name, index, source="push")
        return Committed()

    # What the node asks.

    def images(self, sandbox: str) -> list[str]:
        """Names of the images delivered to a sandbox and still there, newest first."""
        directory = self._image_dirs(sandbox)
        if directory is None:
            return []
        return [r.name for r in self.records.newest_first(sandbox) if (directory / r.name).is_dir()]

    def incoming(self, sandbox: str) -> dict[str, float]:
        """Images on their way to a sandbox, each with the share of its bytes that is here."""
        return {
            name: progress.done
            for (of, name), progress in self.progress().items()
            if of == sandbox and progress.state in ("receiving", "verifying")
        }

    def progress(self) -> dict[tuple[str, str], Progress]:
        """(sandbox, name) -> how far, of everything since this process started."""
        with self._guard:
            known = dict(self._progress)
        return {key: self._measured(*key, progress) for key, progress in known.items()}

    def sweep(self, sandboxes: list[str]) -> None:
        """Remove what failed attempts have left more than a day ago."""
        before = self._now() - STAGING_KEPT_S
        for sandbox in sandboxes:
            directory = self._image_dirs(sandbox)
            for staging in directory.glob(f"{STAGING_PREFIX}*") if directory is not None else ():
                try:
                    old = staging.lstat().st_mtime < before
                except FileNotFoundError:
                    continue
                if old and staging.is_dir() and not staging.is_symlink():
                    log.info("delivery.swept path=%s", staging)
                    shutil.rmtree(staging, ignore_errors=True)

    # Inside.

    def _directory(self, sandbox: str, name: str) -> Path:
        check_sandbox_name(sandbox)
        directory = self._image_dirs(sandbox)
        if directory is None:
            raise BadUsage(f"this node has no sandbox `{sandbox}`; its file below sandboxes-dir of lithos makes one")
        check_image_name(name, self._image_levels(sandbox))
        if not directory.is_dir():
            raise BadUsage(f"{directory} of sandbox `{sandbox}` is no directory; make it")
        return directory

    def _has(self, directory: Path, sandbox: str, name: str, id_: str, source: str) -> bool:
        """Is the image there, whole and with these contents? NameTaken if it has others."""
        place = directory / name
        if not os.path.lexists(place):
            return False
        record = self.records.find(sandbox, name)
        found = record.id if record is not None else None
        if found is None and place.is_dir() and not place.is_symlink():
            with contextlib.suppress(ImageMalformed):  # then it is none of ours, and the name is taken
                index = build_index(place)
                found = index.id
                if found == id_:
                    self._record(sandbox, name, index, source=source or "found")
        if found != id_:
            of = f" (id {found[:8]}...)" if found is not None else ""
            raise NameTaken(
                f"{sandbox}/{name} exists with other contents{of}; images are never replaced, take a new name"
            )
        self._note(sandbox, name, Progress(state="ready", id=id_, done=1.0))
        return True

    def _verify(self, staging: Path, id_: str) -> Index:
        normal_form.normalise(staging)
        found = build_index(staging)
        if found.id != id_:
            announced = self.records.index(id_)
            wrong = differences(announced, found) if announced is not None else iter(())
            shown = "; ".join(itertools.islice(wrong, DIFFERENCES_SHOWN))
            raise Corrupt(f"what arrived is not what was announced: {shown or f'it has the id {found.id[:8]}...'}")
        return found

    def _reveal(self, staging: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        os.chmod(staging, normal_form.EXECUTABLE)
        if os.geteuid() == 0:
            os.chown(staging, 0, 0)
        os.utime(staging, ns=(normal_form.TIME_NS, normal_form.TIME_NS))
        os.rename(staging, place)
        flush_directory(place.parent)

    def _record(self, sandbox: str, name: str, index: Index, *, source: str) -> None:
        self.records.write_index(index)
        record = Record(
            name=name, id=index.id, size=index.size, files=index.files, time=int(self._now() * 1000), source=source
        )
        self.records.write(sandbox, record)
        self._note(sandbox, name, Progress(state="ready", id=index.id, done=1.0))
        log.info("delivery.ready sandbox=%s image=%s id=%s bytes=%d", sandbox, name, index.id, index.size)

    def _delivered(self, directory: Path, sandbox: str) -> list[tuple[Record, Path]]:
        """Images files can be shared with, newest first."""
        found = ((record, directory / record.name) for record in self.records.newest_first(sandbox))
        return list(itertools.islice(((r, path) for r, path in found if path.is_dir()), LINK_SOURCES_MAX))

    def _link(self, index: Index, staging: Path, delivered: list[tuple[Record, Path]]) -> None:
        """Hard-link into the staging directory what delivered images have. Only saves time: commit verifies all."""
        wanted = list(index.files_with_paths())
        have: dict[tuple[int, bool, tuple[str, ...]], str] = {}
        for record, image in delivered:
            for path, file in _files(self.records.index(record.id)):
                have.setdefault((file.size, file.executable, file.blocks), os.path.join(image, os.fsdecode(path)))
        if not have:
            return
        for directory in index.directories:
            os.makedirs(os.path.join(staging, os.fsdecode(directory.path)), exist_ok=True)
        for path, file in wanted:
            source = have.get((file.size, file.executable, file.blocks))
            if source is None or not file.size:
                continue
            with contextlib.suppress(OSError):  # another file system, too many links, already there: it is sent then
                if normal_form.is_normal_file(os.lstat(source), executable=file.executable):
                    os.link(source, os.path.join(staging, os.fsdecode(path)), follow_symlinks=False)

    def _measured(self, sandbox: str, name: str, progress: Progress) -> Progress:
        """With the share of bytes that lies in the staging directory."""
        directory = self._image_dirs(sandbox)
        index = self.records.index(progress.id) if progress.state == "receiving" else None
        if directory is None or index is None or not index.size:
            return progress
        here = 0
        for folder, _folders, files in os.walk(_staging(directory, name, progress.id)):
            for file in files:
                with contextlib.suppress(OSError):
                    here += os.lstat(os.path.join(folder, file)).st_size
        return Progress(state=progress.state, id=progress.id, done=round(min(1.0, here / index.size), 3))

    def _note(self, sandbox: str, name: str, progress: Progress) -> None:
        with self._guard:
            self._progress.pop((sandbox, name), None)
            self._progress[(sandbox, name)] = progress
            while len(self._progress) > PROGRESS_KEPT:
                self._progress.pop(next(iter(self._progress)))

    @contextlib.contextmanager
    def _lock(self, sandbox: str, name: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault((sandbox, name), threading.Lock())
        with lock:
            yield


def _staging(directory: Path, name: str, id_: str) -> Path:
    return directory / f"{STAGING_PREFIX}{flat(name)}.{id_[:8]}"


def _files(index: Index | None) -> Iterator[tuple[bytes, File]]:
    return index.files_with_paths() if index is not None else iter(())


def _check_space(directory: Path, size: int) -> None:
    status = os.statvfs(directory)
    free, needed = status.f_bavail * status.f_frsize, int(size * SPACE_FACTOR)
    if free < needed:
        raise NoSpace(f"{free} bytes are free below {directory}, {needed} are needed")
