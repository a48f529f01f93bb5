"""From a command, or a program named on the command line, to a launch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from manor.container.runtime import RuntimeNotFound, find_runtime
from manor.vagga.config import Command
from manor.vagga.durable import locked
from manor.vagga.environ import command_environment
from manor.vagga.errors import PreparationError, SetupError
from manor.vagga.id_ranges import Maps
from manor.vagga.running import Launch, run, stale_views, transient_view
from manor.vagga.session import Session
from manor.vagga.stage import View


def launch_in(
    session: Session,
    name: str,
    words: Sequence[str],
    *,
    command: Command | None = None,
    listening: int | None = None,
    writable: bool = False,
    lower: Sequence[Path] | None = None,
) -> int:
    """Run a program in a container's image; its exit status.

    Args:
        command: its options hold; None for `_run`.
        writable: a throw-away writable root.
        lower: another root than the image, from the uppermost layer down.
    """
    images, settings, container = session.images, session.settings, session.containers[name]
    store = images.store
    image = store.current(name)
    maps = images.maps(name)
    options = command or Command(container=name, run=tuple(words))
    _check_ids(options, maps)
    writable = writable or options.write_mode != "read-only"
    try:
        runtime = find_runtime(settings.oci_runtime or "auto", cache_dir=store.state, user_namespace=os.getuid() != 0)
    except RuntimeNotFound as error:
        raise PreparationError(str(error)) from error
    if lower is None:
        assert image is not None, "the image was made ready before"
        lower = [image.root]
    label = image.directory.name if image is not None else name
    if writable:
        _remove_stale_views(session)

    def environ(from_file: Mapping[str, str], home: str) -> Mapping[str, str]:
        return command_environment(
            caller=os.environ,
            home=home,
            environ_file=from_file,
            container=container.environ,
            command=options.environ,
            propagate=settings.propagate_environ,
            settings=settings.environ,
            use_env=session.flags.use_env,
            assignments=session.flags.assignments,
            proxies=settings.proxy_env_vars is not False,
        )

    environ({}, "/")  # so that a wrong flag is told before anything is started
    launch = Launch(
        container=container,
        maps=maps,
        view=View(lower, transient_view(store, label) if writable else None),
        words=words,
        work_dir=_inner_work_dir(session, options.work_dir),
        volumes={**container.volumes, **options.volumes},
        environ=environ,
        stdio=session.stdio,
        uid=options.user_id,
        gid=options.group_id,
        groups=options.supplementary_gids,
        external_uid=options.external_user_id,
        isolate_network=options.isolate_network or "isolate_network" in session.flags,
        pid1=options.pid1mode,
        listening=listening,
        terminal=_wants_terminal(session),
    )
    if image is None:
        return run(launch, session.project.root, store, settings, runtime)
    with locked(image.last_use, shared=True):
        os.utime(image.last_use)
        return run(launch, session.project.root, store, settings, runtime)


def _wants_terminal(session: Session) -> bool:
    """If all three streams are terminals, unless a flag says otherwise."""
    if "tty" in session.flags or "no_tty" in session.flags:
        return "tty" in session.flags
    return all(fd is not None and os.isatty(fd) for fd in session.stdio)


def _inner_work_dir(session: Session, work_dir: str | None) -> str:
    """`work-dir`, else where the caller stands; below /work unless absolute."""
    inner = session.project.inner if work_dir is None else work_dir
    return os.path.normpath(os.path.join("/work", inner))


def _check_ids(options: Command, maps: Maps) -> None:
    """Ids that the container does not know cannot be used."""
    external = () if options.external_user_id is None else (options.external_user_id,)
    own = (options.user_id,) if options.external_user_id is None else ()
    for ids, ranges, option in (
        ((*own, *external), maps.uids, "uids"),
        ((options.group_id, *options.supplementary_gids), maps.gids, "gids"),
    ):
        for number in ids:
            if not any(r.inside <= number < r.inside + r.count for r in ranges):
                raise SetupError(f"the id {number} is not mapped in the container; add it to `{option}`")


def _remove_stale_views(session: Session) -> None:
    stale = list(stale_views(session.images.store))
    if stale:
        from manor.vagga.cleaning import remove_inside

        remove_inside(stale, session.containers.values())
