"""`manor demo`: a whole cluster on this machine with the tutorial's site on it. Start reading here."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO

from manor.cluster.check import Check, Figures
from manor.cluster.cluster import NODES_MAX, Cluster, clean
from manor.cluster.tutorial import IMAGES, Tutorial
from manor.cluster.wait import wait_until
from manor.config.errors import ManorError

DIRECTORY = Path("/var/lib/manor-demo")
# Kept between runs, so that the second starts in seconds: what vagga has built, and what was delivered to the nodes.
CACHE = Path("/var/cache/manor-demo")
PROJECT = CACHE / "guestbook"
KEPT = {"/var/lib/lithos/containers": CACHE / "images", "/var/lib/verwalter/delivery": CACHE / "records"}
IMAGES_KEPT = 3  # of each role and node
LABEL = "demo"
FIRST_LEADER_WITHIN_S = 60.0
SITE_WITHIN_S = 120.0


class Stopped(Exception):
    """Somebody asked the demo to end."""


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    if os.geteuid() != 0:
        # Namespaces of whole machines need root; sudo asks the person, who sees what for.
        os.execvp("sudo", ["sudo", "--", sys.executable, "-m", "manor.cluster.demo", *(argv or sys.argv[2:])])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    say = Progress()
    figures = Figures(say)
    try:
        with only_one(DIRECTORY):
            found = clean(DIRECTORY)
            if options.clean:
                print("taken away" if found else "nothing was left")
                return 0
            return run(options, figures, say)
    except Stopped:
        print("\nmanor demo: stopped, nothing is left behind")
        return 0 if not options.check else 1
    except (ManorError, OSError) as error:
        show_figures(figures)
        print(f"manor demo: {error}", file=sys.stderr)
        return 1


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="manor demo", description="Several nodes on this machine, with a site on them."
    )
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help=f"1 to {NODES_MAX}, default 3")
    parser.add_argument("--check", action="store_true", help="use it, break it, measure, end with 0 or 1")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running at the end; --clean ends it")
    parser.add_argument("--clean", action="store_true", help="take away what a killed or kept demo left, and end")
    options = parser.parse_args(argv)
    if not 1 <= options.nodes <= NODES_MAX:
        parser.error(f"argument --nodes: {options.nodes} is not within 1 to {NODES_MAX}")
    return options


def stop(_number: int, _frame: FrameType | None) -> None:
    finish_undisturbed()
    raise Stopped


def finish_undisturbed() -> None:
    """Taking down is not to be interrupted by impatience; `--clean` is for those who use KILL."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """One demo at a time on a machine; the lock vanishes with the process."""
    directory.mkdir(parents=True, exist_ok=True)
    lock: IO[str]
    with open(directory / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ManorError("another `manor demo` runs on this machine; end it first") from None
        yield


def run(options: argparse.Namespace, figures: Figures, say: Progress) -> int:
    cluster = Cluster.create(DIRECTORY, label=LABEL, count=options.nodes, kept=KEPT)
    try:
        tutorial = Tutorial(cluster, PROJECT, say.detail)
        forget_old_images(KEPT["/var/lib/lithos/containers"])
        deploy(tutorial, figures, say)
        if options.check:
            say("checking: use it, change it, break it")
            Check(tutorial, figures, say).run()
            show_figures(figures)
            return 0
        show_addresses(tutorial)
        if options.keep:
            return 0
        from manor.cluster.screen import show_until_stopped

        show_until_stopped(tutorial)
        return 0
    except (ManorError, OSError) as error:
        say(f"failed: {error}")
        raise
    finally:
        finish_undisturbed()
        if options.keep:  # after a failure too: whoever keeps it wants to look
            print("The cluster goes on; `manor demo --clean` ends it.")
        else:
            say("taking everything down")
            cluster.take_down()


def deploy(tutorial: Tutorial, figures: Figures, say: Callable[[str], None]) -> None:
    """From nothing to a site that answers on every node."""
    began = time.monotonic()

    def phase(what: str, work: Callable[[], object]) -> None:
        say(what)
        phase_began = time.monotonic()
        work()
        figures.seconds(what, time.monotonic() - phase_began)

    nodes = tutorial.cluster.names
    tutorial.copy_project("1")
    phase("building images with vagga", lambda: tutorial.build(list(IMAGES)))
    phase(f"starting {len(nodes)} nodes", tutorial.start_nodes)
    phase("electing a leader", lambda: wait_until("a leader", tutorial.leader, within_s=FIRST_LEADER_WITHIN_S))
    phase("delivering images with manor push", partial(tutorial.push_all, "v1"))
    phase(
        "starting the database",
        lambda: wait_until("a ready database", lambda: tutorial.ready("database"), within_s=SITE_WITHIN_S),
    )
    phase(
        "migrating the database",
        lambda: wait_until("tables", tutorial.migrate, within_s=SITE_WITHIN_S),
    )
    phase(
        "waiting for the site on every node",
        lambda: wait_until("the site", lambda: tutorial.site_answers(nodes), within_s=SITE_WITHIN_S),
    )
    figures.seconds("from nothing to a site that answers on every node", time.monotonic() - began)


def forget_old_images(images: Path) -> None:
    """Remove all but the newest images of former runs; NODE/SANDBOX/IMAGE."""
    for sandbox in images.glob("*/*"):
        newest_first = sorted(sandbox.iterdir(), key=lambda image: image.stat().st_ctime, reverse=True)
        for image in newest_first[IMAGES_KEPT:]:
            shutil.rmtree(image)


class Progress:
    """One line a phase; on a terminal the newest detail is shown below it and overwritten."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        clear = "\x1b[2K\r" if self._terminal else ""
        print(f"{clear}[{time.monotonic() - self._began:6.1f} s] {text}", flush=True)

    def detail(self, text: str) -> None:
        if self._terminal:
            print(f"\x1b[2K\r           {text[:100]}", end="", flush=True)
        else:
            print(f"           {text}", flush=True)


def show_addresses(tutorial: Tutorial) -> None:
    print("\nThe guest book answers on every node:")
    for name in tutorial.cluster.names:
        print(f"  {name}   {tutorial.site_url(name)}   verwalter {tutorial.url(name)}/v1/status   "
              f"cantal http://{tutorial.address(name)}:22682/status.json")  # fmt: skip
    print(f"The agents' token is in {tutorial.token_file}.\n")


def show_figures(figures: Figures) -> None:
    if not figures.rows:
        return
    width = max(len(what) for what, _ in figures.rows)
    print()
    for what, value in figures.rows:
        print(f"  {what:<{width}}  {value:>12}")
    print()


if __name__ == "__main__":
    sys.exit(main())
