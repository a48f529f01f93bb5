"""`_base_dir`: print the project's root."""

from __future__ import annotations

from collections.abc import Sequence

from manor.vagga.session import Session


def run(session: Session, words: Sequence[str]) -> int:
    print(session.project.root)
    return 0
