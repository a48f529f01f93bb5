"""`_relative_work_dir`: print where in the project the caller stands; an empty line in its root."""

from __future__ import annotations

from collections.abc import Sequence

from manor.vagga.session import Session


def run(session: Session, words: Sequence[str]) -> int:
    print(session.project.inner)
    return 0
