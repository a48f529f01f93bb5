"""Updates still to be told to others: each a bounded number of times, the least told first."""

from __future__ import annotations

from collections import deque
from typing import Any

from manor.cantal.gossip.messages import Update
from manor.cantal.gossip.numbers import NEWS_MAX


class NewsQueue:
    """What is new goes in front, what was told goes to the end, what is outdated is dropped when its turn comes."""

    __slots__ = ("_queue", "dropped")

    def __init__(self) -> None:
        self._queue: deque[tuple[Update, int, int]] = deque()  # update, slot (-1: ourselves), times left
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, update: Update, slot: int, times: int) -> None:
        if len(self._queue) >= NEWS_MAX:
            self._queue.pop()
            self.dropped += 1
        self._queue.appendleft((update, slot, times))

    def take(self, room_bytes: int, most: int, ranks: Any, own_rank: int) -> tuple[Update, ...]:
        """As many as fit. `ranks` are the present ranks by slot; an update below them is outdated."""
        queue = self._queue
        taken: list[Update] = []
        for _ in range(len(queue)):
            update, slot, left = queue.popleft()
            if update.rank < (ranks[slot] if slot >= 0 else own_rank):
                continue
            size = 28 if update.source is None else 45
            if size > room_bytes or len(taken) >= most:
                queue.appendleft((update, slot, left))
                break
            taken.append(update)
            room_bytes -= size
            if left > 1:
                queue.append((update, slot, left - 1))
        return tuple(taken)
