"""What programs publish: finding their pairs of files, deciding whose they are, reading them at every tick.

Theory of operation. A process says by `CANTAL_PATH` in its environment where its pair is: a path as *it* sees the
file system, so it is looked up inside `/proc/PID/root`, and nothing on the way may lead out of it. Children inherit
the environment, so many processes claim one pair: a pair is known by the inode of its `.values`, is read once a tick,
and belongs to the process that was started first among its claimants. Besides `PATH` a process may own `PATH.NSPID`
(its number in its own pid namespace), so that the workers of a pre-forking server each publish.

The files are written by any user and the agent is mostly root. So: opened by openat2 confined to the process's root,
first as a mere path (nothing is touched before `fstat` has said that it is a regular file), only if the process itself
may read it, never mapped (a writer could truncate the file and kill us).
"""

from __future__ import annotations

import errno
import logging
import os
import stat as mode
from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from manor.cantal.sources.feed import Samples, together
from manor.cantal.sources.kept_file import Descriptors
from manor.cantal.sources.processes import Process
from manor.cantal.store.keys import Key
from manor.cantal.store.series import Columns, Ids, Series, SeriesTable
from manor.cantal.store.states import StateSample
from manor.cantal.store.store import NO_IDS
from manor.cantal.values import (
    META_BYTES_MAX,
    Defect,
    Description,
    Entry,
    Layout,
    MalformedMeta,
    pair_paths,
    parse_meta,
    published_key,
    read_state,
)
from manor.kernel.inside import open_inside

ENVIRON_BYTES_MAX: Final = 128 << 10
APPNAME_CHARACTERS_MAX: Final = 128
EAGER_MS: Final = 60_000  # so long a missing pair is looked for at every tick
PATIENT_MS: Final = 10_000  # then that often
RETRY_TICKS_FIRST: Final = 10  # an unreadable environment
RETRY_MS_MAX: Final = 300_000
SERIES_PER_FILE_MAX: Final = 10_000
SERIES_PER_UID_MAX: Final = 20_000
LOGGED_EVERY_MS: Final = 600_000  # each (file, defect)
FDS_PER_PAIR: Final = 2

_log = logging.getLogger(__name__)

Inode = tuple[int, int]


class Refused(Exception):
    """The pair is there, but it must not or cannot be read. The message is the defect."""


@dataclass(slots=True, eq=False)
class Place:
    """One path at which a process may have a pair."""

    path: str  # CANTAL_PATH, or that with the inner pid
    since: int  # ms: when it began to be missing
    next_look: int = 0
    pair: Pair | None = None


@dataclass(slots=True, eq=False)
class Publisher:
    """A process that says it publishes."""

    process: Process
    programs: int  # as of the last look at its environment
    appname: str | None = None
    places: list[Place] = field(default_factory=list)
    retry_at: int = 0  # when to look again at an environment that could not be read; 0: was read
    retry_ms: int = 0
    sampled: set[str] = field(default_factory=set)  # places whose numbers were read before in the life of the process


@dataclass(slots=True, eq=False)
class Pair:
    """A pair of files that is open."""

    inode: Inode  # of `.values`
    values_fd: int
    meta_fd: int
    meta_stamp: tuple[int, int]  # size and mtime of `.meta` as it was read
    description: Description
    layout: Layout
    mtime: int
    claimants: list[tuple[Publisher, Place]] = field(default_factory=list)
    owner: Publisher | None = None
    owner_path: str = ""
    group: str | None = None
    columns: Columns = field(default_factory=lambda: Columns(()))
    states: list[tuple[Entry, Key]] = field(default_factory=list)  # entry and key
    over_quota: bool = False

    def close(self) -> None:
        os.close(self.values_fd)
        os.close(self.meta_fd)


@dataclass(frozen=True, slots=True)
class ReportedDefect:
    """A row of `/values_errors`."""

    pid: int
    path: str
    defect: str
    line: int | None
    since: int  # ms since 1970


class ValuesScan(NamedTuple):
    """What one pass found."""

    samples: Samples
    broken: Ids  # first samples of processes that may have the pid of an earlier one
    states: list[StateSample]


class ValuesFiles:
    """All pairs of one machine. One thread."""

    def __init__(
        self,
        root: Path,
        fds: Descriptors,
        *,
        interval_ms: int,
        per_file_max: int = SERIES_PER_FILE_MAX,
        per_uid_max: int = SERIES_PER_UID_MAX,
    ) -> None:
        self.counts: Tally[str] = Tally({"short_files": 0, "duplicate_keys": 0, "over_quota": 0, "unknown_types": 0})
        self._root = os.fspath(root)
        self._fds = fds
        self._interval_ms = interval_ms
        self._per_file_max = per_file_max
        self._per_uid_max = per_uid_max
        self._publishers: dict[Process, Publisher] = {}
        self._pairs: dict[Inode, Pair] = {}
        self._defects: dict[tuple[int, str], tuple[ReportedDefect, ...]] = {}
        self._logged: dict[tuple[str, str], int] = {}

    # -- one pass ----------------------------------------------------------------------------------------------

    def scan(self, processes: Sequence[Process], gone: Iterable[Process], table: SeriesTable, now: int) -> ValuesScan:
        """Numbers and States of this tick; `now` in ms since 1970."""
        for process in gone:
            self._leave(process)
        for process in processes:
            publisher = self._publishers.get(process)
            if publisher is None or publisher.programs != process.programs or 0 < publisher.retry_at <= now:
                self._learn(process, publisher, now)
        self._drop_replaced(now)
        for publisher in self._publishers.values():
            for place in publisher.places:
                if place.pair is None and place.next_look <= now:
                    self._look(publisher, place, now)
        # the oldest file first: where two yield one key that cannot be added up, the newest counts
        found = []
        for pair in sorted(self._pairs.values(), key=lambda pair: pair.mtime):
            self._settle_owner(pair)
            read = self._read(pair, table, now)
            if read is not None:
                found.append(read)
        samples = together([read.samples for read in found])
        self.counts["duplicate_keys"] += _repeated(samples.ids)
        return ValuesScan(
            samples,
            np.concatenate([NO_IDS, *(read.broken for read in found)]),
            [state for read in found for state in read.states],
        )

    def defects(self) -> list[ReportedDefect]:
        """What is wrong now, for readers in other threads."""
        return [defect for defects in list(self._defects.values()) for defect in defects]

    # -- who publishes -----------------------------------------------------------------------------------------

    def _learn(self, process: Process, known: Publisher | None, now: int) -> None:
        """Read the environment of a process that is new, or runs another program."""
        waited = known.retry_ms if known and known.programs == process.programs else 0
        if known:
            self._leave(process)
        publisher = self._publishers[process] = Publisher(process, process.programs)
        if known:
            publisher.sampled = known.sampled
        try:
            environ = self._environ(process.pid)
        except OSError as error:
            if error.errno != errno.ESRCH:
                first = RETRY_TICKS_FIRST * self._interval_ms
                publisher.retry_ms = min(2 * waited or first, RETRY_MS_MAX)
                publisher.retry_at = now + publisher.retry_ms
            return
        path = environ.get(b"CANTAL_PATH", b"").rstrip(b"/")
        if not path:
            return
        publisher.appname = self._checked_appname(process, environ.get(b"CANTAL_APPNAME", b""), now)
        stem = os.fsdecode(path if path.startswith(b"/") else self._absolute(process.pid, path))
        publisher.places = [Place(stem, now)]
        if process.status.inner_pid is not None:
            publisher.places.append(Place(f"{stem}.{process.status.inner_pid}", now))

    def _environ(self, pid: int) -> dict[bytes, bytes]:
        fd = os.open(f"{self._root}/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(fd, ENVIRON_BYTES_MAX)
        finally:
            os.close(fd)
        found: dict[bytes, bytes] = {}
        if b"CANTAL_" in data:
            for word in data.split(b"\0"):
                name, _, value = word.partition(b"=")
                found.setdefault(name, value)
        return found

    def _absolute(self, pid: int, path: bytes) -> bytes:
        """A relative path starts where the process is now; as the process sees it."""
        try:
            directory = os.fsencode(os.readlink(f"{self._root}/{pid}/cwd"))
            root = os.fsencode(os.readlink(f"{self._root}/{pid}/root"))
        except OSError:
            return b"/" + path
        if root != b"/" and directory.startswith(root):
            directory = directory[len(root) :]
        return directory.rstrip(b"/") + b"/" + path

    def _checked_appname(self, process: Process, name: bytes, now: int) -> str | None:
        if not name:
            return None
        if len(name) > APPNAME_CHARACTERS_MAX or not name.isascii():
            self._log_once(
                f"pid {process.pid}", "CANTAL_APPNAME is ignored; 1 to 128 ASCII characters are allowed", now
            )
            return None
        return name.decode("ascii")

    def _leave(self, process: Process) -> None:
        publisher = self._publishers.pop(process, None)
        if publisher is None:
            return
        for place in publisher.places:
            if place.pair is not None:
                place.pair.claimants.remove((publisher, place))
                if not place.pair.claimants:
                    self._close(place.pair)
            self._defects.pop((process.pid, place.path), None)

    # -- where their files are ---------------------------------------------------------------------------------

    def _look(self, publisher: Publisher, place: Place, now: int) -> None:
        place.next_look = now if now - place.since < EAGER_MS else now + PATIENT_MS
        pid = publisher.process.pid
        try:
            pair = self._open(publisher.process, place)
        except Refused as error:
            self._report(pid, place.path, [Defect(0, str(error))], now)
            return
        except MalformedMeta as error:
            self._report(pid, place.path, [Defect(error.line, error.text)], now)
            return
        except OSError:  # nothing there (yet), or the process is gone
            return
        if pair is None:
            self._report(pid, place.path, (), now)
            return
        place.pair = pair
        pair.claimants.append((publisher, place))
        self._report(pid, place.path, pair.description.defects, now)

    def _open(self, process: Process, place: Place) -> Pair | None:
        """The pair at this place, opened if it is not known yet; None without a description."""
        meta_path, values_path = pair_paths(place.path)
        root = os.open(f"{self._root}/{process.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            meta_fd = _open_regular(root, meta_path, process)
            if meta_fd is None:
                return None
            try:
                values_fd = _open_regular(root, values_path, process)
                if values_fd is None:
                    raise Refused("no values file")
                return self._known_or_new(meta_fd, values_fd)
            finally:
                os.close(meta_fd)
        finally:
            os.close(root)

    def _known_or_new(self, meta_fd: int, values_fd: int) -> Pair:
        """Takes over values_fd."""
        facts = os.fstat(values_fd)
        inode = (facts.st_dev, facts.st_ino)
        known = self._pairs.get(inode)
        if known is not None:
            os.close(values_fd)
            return known
        try:
            stamp, description = _read_description(meta_fd)
            if not self._fds.take(FDS_PER_PAIR):
                raise Refused("no room for one more open file")
        except BaseException:
            os.close(values_fd)
            raise
        self.counts["unknown_types"] += len(description.defects)
        pair = Pair(
            inode, values_fd, os.dup(meta_fd), stamp, description, Layout(description.entries), facts.st_mtime_ns
        )
        self._pairs[inode] = pair
        return pair

    def _drop_replaced(self, now: int) -> None:
        """Let go of pairs that were removed or replaced; their claimants look again at once."""
        for pair in list(self._pairs.values()):
            values, meta = os.fstat(pair.values_fd), os.fstat(pair.meta_fd)
            pair.mtime = values.st_mtime_ns
            if values.st_nlink and meta.st_nlink and (meta.st_size, meta.st_mtime_ns) == pair.meta_stamp:
                continue
            for _publisher, place in pair.claimants:
                place.pair = None
                place.since = place.next_look = now
            self._close(pair)

    def _close(self, pair: Pair) -> None:
        del self._pairs[pair.inode]
        pair.close()
        self._fds.give_back(FDS_PER_PAIR)

    # -- whose they are ----------------------------------------------------------------------------------------

    def _settle_owner(self, pair: Pair) -> None:
        """The claimant started first; when it dies the next one takes over."""
        owner, place = min(pair.claimants, key=lambda claim: (claim[0].process.start, claim[0].process.pid))
        if pair.owner is owner and pair.group == owner.process.group and pair.columns.series:
            return
        pair.owner, pair.owner_path, pair.group = owner, place.path, owner.process.group
        own = {"pid": str(owner.process.pid)}
        if pair.group is not None:
            own["cgroup"] = pair.group
        elif owner.appname is not None:
            own["appname"] = owner.appname
        room = self._room(pair, owner)
        series = [Series(published_key(entry.pairs, **own), entry.kind) for entry in pair.layout.numbers]
        pair.over_quota = len(series) > room
        if pair.over_quota:
            self.counts["over_quota"] += len(series) - room
        pair.columns = Columns(series[:room])
        pair.states = [(entry, published_key(entry.pairs, **own)) for entry in pair.layout.states]

    def _room(self, pair: Pair, owner: Publisher) -> int:
        """How many series this pair may have: by file, and by what others of the same user have already."""
        uid = owner.process.uid
        others = sum(
            len(other.columns.series)
            for other in self._pairs.values()
            if other is not pair and other.owner is not None and other.owner.process.uid == uid
        )
        return max(0, min(self._per_file_max, self._per_uid_max - others))

    # -- what they say -----------------------------------------------------------------------------------------

    def _read(self, pair: Pair, table: SeriesTable, now: int) -> ValuesScan | None:
        try:
            data = os.pread(pair.values_fd, pair.description.size, 0)
            replaced = not os.fstat(pair.meta_fd).st_nlink
        except OSError:
            return None
        if replaced:  # while it was read: these bytes may be of another description
            return None
        if len(data) < pair.description.size:
            self.counts["short_files"] += 1
        ids = pair.columns.ids(table)
        bits, present = pair.layout.read_numbers(data)
        bits = bits[: len(ids)]
        if present is not None:
            present = present[: len(ids)]
            bits, ids = bits[present], ids[present]
        states = []
        for entry, key in pair.states:
            state = read_state(entry, data)
            if state is not None:
                states.append(StateSample(key, state[0], state[1], now))
        return ValuesScan(Samples(ids, bits), self._first_ids(pair, ids), states)

    def _first_ids(self, pair: Pair, ids: Ids) -> Ids:
        """These ids if their process publishes for the first time and may not continue another one's series."""
        owner = pair.owner
        assert owner is not None
        if not owner.process.is_new or pair.owner_path in owner.sampled:
            return NO_IDS
        owner.sampled.add(pair.owner_path)
        return ids

    # -- what is wrong with them -------------------------------------------------------------------------------

    def _report(self, pid: int, path: str, defects: Sequence[Defect], now: int) -> None:
        """Remember for `/values_errors`; a defect that was there before keeps its time."""
        before = {(d.line, d.defect): d.since for d in self._defects.get((pid, path), ())}
        rows = tuple(
            ReportedDefect(pid, path, d.text, d.line or None, before.get((d.line or None, d.text), now))
            for d in defects
        )
        if rows:
            self._defects[pid, path] = rows
        else:
            self._defects.pop((pid, path), None)
        for row in rows:
            place = f"{path}.meta:{row.line}" if row.line else path
            self._log_once(f"pid {pid} {place}", row.defect, now)

    def _log_once(self, what: str, text: str, now: int) -> None:
        if now - self._logged.get((what, text), -LOGGED_EVERY_MS) < LOGGED_EVERY_MS:
            return
        self._logged = {k: at for k, at in self._logged.items() if now - at < LOGGED_EVERY_MS}
        self._logged[what, text] = now
        _log.warning("values.defect %r: %s", what, text)


def _repeated(ids: Ids) -> int:
    """How many of them are there a second time."""
    known = ids[ids >= 0]
    return len(known) - int(np.count_nonzero(np.bincount(known, minlength=1)))


def _open_regular(root: int, path: str, process: Process) -> int | None:
    """A descriptor of a regular file inside a process's root that it may read itself; None if there is none.

    Raises Refused.
    """
    try:
        place = open_inside(root, path, os.O_PATH)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            if _is_link(root, path):
                raise Refused("a symbolic link leads nowhere inside the process's root") from error
            return None
        if error.errno in {errno.ELOOP, errno.EXDEV}:
            raise Refused("a symbolic link on the way is not followed") from error
        raise
    try:
        facts = os.fstat(place)
        if not mode.S_ISREG(facts.st_mode):
            raise Refused("not a regular file")
        if not _may_read(process, facts):
            raise Refused("the process itself may not read it")
        try:
            return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except PermissionError as error:
            raise Refused("no permission to read it") from error
    finally:
        os.close(place)


def _is_link(root: int, path: str) -> bool:
    try:
        place = open_inside(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return mode.S_ISLNK(os.fstat(place).st_mode)
    finally:
        os.close(place)


def _may_read(process: Process, facts: os.stat_result) -> bool:
    """By its owner, its group or as anybody; so nobody can publish a file he could not read."""
    status = process.status
    if facts.st_uid in status.uids or facts.st_mode & mode.S_IROTH:
        return True
    return facts.st_gid in {*status.gids, *status.groups} and bool(facts.st_mode & mode.S_IRGRP)


def _read_description(meta_fd: int) -> tuple[tuple[int, int], Description]:
    facts = os.fstat(meta_fd)
    data = os.pread(meta_fd, META_BYTES_MAX + 1, 0)
    return (facts.st_size, facts.st_mtime_ns), parse_meta(data)
