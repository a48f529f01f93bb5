"""`kill -9` at every step of a commit: either no name, or a whole image."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manor.delivery.index import Index, build_index
from manor.delivery.messages import Announce, Commit
from manor.delivery.staging import Receiver

STEPS = ("rename", "fsync", "chmod", "utime", "chown", "lchown", "link", "mkdir", "write", "open", "unlink")
STEPS_MAX = 2_000


def make_image(root: Path) -> Path:
    (root / "a/b").mkdir(parents=True)
    for name, content in {"run": "#!/bin/sh\n", "a/data": "x" * 70_000, "a/b/empty": ""}.items():
        (root / name).write_text(content)
    (root / "run").chmod(0o755)
    (root / "link").symlink_to("a/data")
    return root


def run_and_kill_before_step(number: int, act: Callable[[], object]) -> bool:
    """Run `act` in a child that is killed when it is about to change the disk for the `number`th time; was it?"""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            count_down(number)
            act()
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"step {number}: status {status}"
    return status != 0


def count_down(number: int) -> None:
    left = [number]

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return call

    for step in STEPS:
        setattr(os, step, counted(getattr(os, step)))


def announce(receiver: Receiver, index: Index) -> str | None:
    return receiver.announce(
        Announce(sandbox="site", name="app.1", id=index.id, size=index.size, files=index.files)
    ).staging


def send(image: Path, staging: str) -> None:
    words = ["rsync", "-rl", "--checksum", "--executability", "--delete"]
    subprocess.run([*words, f"{image}/", staging], check=True)


def test_killed_before_any_step_a_name_is_whole_or_not_there_and_the_next_try_succeeds(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    index = build_index(image)
    seen = {"absent": 0, "whole": 0}
    number, killed = 0, True
    while killed:
        number += 1
        assert number < STEPS_MAX
        folder = tmp_path / f"node-{number}"
        (folder / "images").mkdir(parents=True)
        place = folder / "images/app.1"
        receiver = Receiver({"site": folder / "images"}.get, folder / "state")
        staging = announce(receiver, index)
        assert staging is not None
        send(image, staging)
        commit = Commit(sandbox="site", name="app.1", id=index.id)
        killed = run_and_kill_before_step(number, lambda r=receiver, c=commit: r.commit(c))
        seen["whole" if place.exists() else "absent"] += 1
        if place.exists():
            assert build_index(place).id == index.id
        after = Receiver({"site": folder / "images"}.get, folder / "state")
        staging = announce(after, index)
        if staging is not None:
            send(image, staging)
            after.commit(commit)
        assert build_index(place).id == index.id
        assert os.listdir(folder / "images") == ["app.1"]
        assert after.images("site") == ["app.1"]
        shutil.rmtree(folder)
    assert seen["absent"] > 20 and seen["whole"] > 3, seen
