"""`_clean`: remove images, views and leftovers. What is in use is kept and reported."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from manor.config.units import parse_duration
from manor.vagga.commands.options import Options
from manor.vagga.config import build_order
from manor.vagga.errors import UnknownVersion, UsageError
from manor.vagga.session import Session
from manor.vagga.store import Image

if TYPE_CHECKING:
    from argparse import Namespace

USER_FILES: Final = ("vagga.yaml", "local.yaml", "settings.yaml")
NOT_YET: Final = ("--layers", "--downloads", "--unused-volumes", "--volumes", "--global")
NO_ACTION: Final = 1
ERRORS: Final = 3


@dataclass(frozen=True, slots=True)
class Doomed:
    """Something to be removed."""

    path: Path
    reason: str
    image: Image | None = None


def run(session: Session, words: Sequence[str]) -> int:
    options = Options("_clean", "Remove what is not needed any more; at least one action has to be given.")
    options.add_argument("--tmp", "--tmp-folders", dest="tmp", action="store_true", help="what killed builds have left")
    options.add_argument("--old", "--old-containers", dest="old", action="store_true", help="images no link points to")
    options.add_argument("--unused", action="store_true", help="images the present configuration does not want")
    options.add_argument("--transient", action="store_true", help="writable views whose process is gone")
    options.add_argument("--everything", action="store_true", help="the whole base directory but the user's own files")
    options.add_argument("--at-least", metavar="DURATION", help="with --unused: images not used for that long")
    options.add_argument("-n", "--dry-run", action="store_true", help="say what would be removed")
    options.add_argument("--json", action="store_true", help="a list of path, size and reason")
    for word in words:
        if word in NOT_YET:
            print(f"vagga: `_clean {word}` is not supported yet", file=sys.stderr)
            return NO_ACTION
    try:
        chosen = options.parse_args(list(words))
        at_least_s = parse_duration(chosen.at_least) if chosen.at_least else None
        if not (chosen.tmp or chosen.old or chosen.unused or chosen.transient or chosen.everything):
            raise UsageError(f"no action is given\n{options.format_usage()}".rstrip())
    except (UsageError, ValueError) as error:
        print(f"vagga: {error}", file=sys.stderr)
        return NO_ACTION
    doomed = {item.path: item for item in _doomed(session, chosen, at_least_s)}
    return _report_or_remove(session, list(doomed.values()), dry_run=chosen.dry_run, as_json=chosen.json)


def _doomed(session: Session, chosen: Namespace, at_least_s: float | None) -> Iterator[Doomed]:
    store = session.images.store
    if not store.base.is_dir():
        return
    if chosen.everything:
        yield from (
            Doomed(path, "everything", _as_image(session, path))
            for path in sorted([*_entries(store.roots), *_entries(store.base)])
            if path.name not in USER_FILES and path != store.roots
        )
        return
    if chosen.tmp:
        yield from (Doomed(path, "unfinished") for path in store.orphans())
    if chosen.transient:
        from manor.vagga.running import stale_views

        yield from (Doomed(path, "left view") for path in stale_views(store))
    images = [image for path in _entries(store.roots) if (image := _as_image(session, path))]
    if chosen.old:
        linked = {current.directory for name in {i.name for i in images} if (current := store.current(name))}
        yield from (Doomed(i.directory, "old", i) for i in images if i.directory not in linked)
    if chosen.unused and at_least_s is not None:
        cutoff = time.time() - at_least_s
        yield from (Doomed(i.directory, "not used", i) for i in images if i.last_use.stat().st_mtime < cutoff)
    elif chosen.unused:
        wanted = _wanted(session)
        yield from (Doomed(i.directory, "not wanted", i) for i in images if i.directory not in wanted)


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _as_image(session: Session, path: Path) -> Image | None:
    if path.parent != session.images.store.roots or path.name.startswith(".") or not path.is_dir():
        return None
    return Image(path.name.rpartition(".")[0], path)


def _wanted(session: Session) -> set[Path]:
    images = session.images
    result = set()
    for name in build_order(sorted(images.containers), images.containers):
        try:
            result.add(images.store.image(name, images.versions().version(name)).directory)
        except UnknownVersion:
            if current := images.store.current(name):
                result.add(current.directory)
    return result


def _report_or_remove(session: Session, doomed: list[Doomed], *, dry_run: bool, as_json: bool) -> int:
    from manor.vagga.cleaning import remove_images, remove_inside, size_of

    sizes = {item.path: size_of(item.path) for item in doomed}
    if as_json:
        import msgspec

        rows = [{"path": str(item.path), "size": sizes[item.path], "reason": item.reason} for item in doomed]
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
    if dry_run:
        if not as_json:
            print("".join(f"Would remove {item.path}\n" for item in doomed), end="")
        return 0
    containers = list(session.containers.values())
    kept = {image.directory for image in remove_images([i.image for i in doomed if i.image], containers)}
    for directory in sorted(kept):
        print(f"vagga: {directory} is in use and stays", file=sys.stderr)
    others = [i.path for i in doomed if i.image is None and not any(k.is_relative_to(i.path) for k in kept)]
    remove_inside([path for path in others if path.exists() or path.is_symlink()], containers)
    left = [
        i.path
        for i in doomed
        if i.path.exists() and i.path not in kept and not any(k.is_relative_to(i.path) for k in kept)
    ]
    _drop_empty(session)
    removed = [item for item in doomed if item.path not in kept and item.path not in left]
    total = sum(sizes[item.path] for item in removed)
    print(f"removed {len(removed)} ({total} bytes), kept {len(kept)} in use", file=sys.stderr)
    return ERRORS if left else 0


def _drop_empty(session: Session) -> None:
    """Links to images that are gone."""
    store = session.images.store
    for path in _entries(store.base):
        if path.is_symlink() and not path.exists() and not path.name.startswith("."):
            path.unlink()
