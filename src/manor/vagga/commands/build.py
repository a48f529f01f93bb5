"""`_build`: build containers."""

from __future__ import annotations

from collections.abc import Sequence

from manor.vagga.commands.options import Options
from manor.vagga.errors import PreparationError, UsageError
from manor.vagga.images import Force
from manor.vagga.session import Session

NOT_YET = ("--refresh", "--no-layers", "--explain", "--json", "--shell-on-failure", "-j")


def run(session: Session, words: Sequence[str]) -> int:
    options = Options("_build", "Build containers and all they are built from.")
    options.add_argument("--force", action="store_true", help="run all steps, whatever layers are there")
    options.add_argument("--force-from", type=int, metavar="N", help="reuse the layers before step N only")
    options.add_argument("name", nargs="+", metavar="NAME")
    for word in words:
        if word.startswith(NOT_YET):
            raise UsageError(f"`{word}` is not supported yet; leave it out")
    chosen = options.parse_args(list(words))
    force = Force(chosen.force_from or 1) if chosen.force or chosen.force_from else None
    for name in chosen.name:
        if name not in session.containers:
            known = ", ".join(sorted(session.containers)) or "none"
            raise PreparationError(f"container `{name}` does not exist; known: {known}")
    for image in session.images.build(chosen.name, force).values():
        session.images.store.point(image)
    session.images.settle()
    return 0
