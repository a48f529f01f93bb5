"""How schedules get from node to node: what is here, what is wanted, whom to ask.

`core.py` is the state machine without I/O (read it first), `download.py` the HTTP requests it asks for.
"""

from manor.verwalter.transport.core import Adopt, Fetch, FetchNumbers, ParentsReady, Transport

__all__ = ["Adopt", "Fetch", "FetchNumbers", "ParentsReady", "Transport"]
