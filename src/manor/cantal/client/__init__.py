"""Publish numbers to cantal: declare them, call `start()`, then count. One memory store each, no thread, no socket.

    from manor.cantal import client

    visits = client.Counter(group="shop", metric="visits")
    client.start()          # once, when all are declared
    visits.incr()

Needs nothing but Python's standard library, and nothing of manor: the folder may be copied into any image. Works
without an agent, too. The names are those of the older library called cantal, with the same call forms.

Helpers for frameworks, imported by whoever uses them: `wsgi`, `asgi`, `django`, `aiohttp`, `dbapi`.
"""

from .cells import Counter, Float, Integer, Level, State
from .collection import ActiveCollection, Collection, DuplicateValueException, global_collection, start
from .fork import Fork
from .tracker import RequestTracker

__all__ = [
    "ActiveCollection",
    "Collection",
    "Counter",
    "DuplicateValueException",
    "Float",
    "Fork",
    "Integer",
    "Level",
    "RequestTracker",
    "State",
    "global_collection",
    "start",
]
