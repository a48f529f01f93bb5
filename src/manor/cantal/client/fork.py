"""Where the time of a loop goes: one state, and for each branch how often and how long."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .cells import Counter, State
from .collection import Collection

OUTSIDE = "_"  # the state between the begin of a context and its first branch


class Branch:
    """One thing a Fork may be doing. `enter()` ends the branch before."""

    __slots__ = ("_count", "_duration", "_fork", "name")

    def __init__(self, fork: Fork, name: str, state: str, pairs: dict[str, str], collection: Collection | None) -> None:
        self.name = name
        self._fork = fork
        self._count = Counter(state=f"{state}.{name}", metric="count", collection=collection, **pairs)
        self._duration = Counter(state=f"{state}.{name}", metric="duration", collection=collection, **pairs)

    def enter(self) -> None:
        self._fork.enter(self)

    def add(self, seconds: float) -> None:
        self._count.incr()
        self._duration.incr(max(0, round(seconds * 1000)))


class Fork:
    """
    loop = Fork(["read", "write"], state="loop")
    with loop.context():
        loop.read.enter()
        ...
        loop.write.enter()
    """

    def __init__(
        self, branches: Iterable[str], state: str, *, collection: Collection | None = None, **pairs: str
    ) -> None:
        self._state = State(collection=collection, **{**pairs, "state": state})  # type: ignore[arg-type]
        self._inside = False
        self._branch: Branch | None = None
        self._entered = 0.0  # by the clock that nobody can set
        for name in branches:
            setattr(self, name, Branch(self, name, state, pairs, collection))

    def __getattr__(self, name: str) -> Branch:
        raise AttributeError(f"this Fork has no branch {name!r}")  # those it has are attributes of their own

    @contextmanager
    def context(self) -> Iterator[None]:
        if self._inside:
            import logging  # only then: the client is to be imported fast

            logging.getLogger(__name__).error("the contexts of one Fork cannot be nested; the outer one is abandoned")
        self._inside, self._branch = True, None
        self._state.enter(OUTSIDE)
        try:
            yield
        finally:
            self._end_branch(time.monotonic())
            self._state.exit()
            self._inside = False

    def enter(self, branch: Branch) -> None:
        now = time.monotonic()
        self._end_branch(now)
        self._state.enter(branch.name)
        self._branch, self._entered = branch, now

    def _end_branch(self, now: float) -> None:
        if self._branch is not None:
            self._branch.add(now - self._entered)
            self._branch = None
