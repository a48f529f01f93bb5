"""What can go wrong, and the exit status of each.

CtlFailed            1  the server refused, or the operation failed
    BadUsage         2
    NotSupported     2  described, but not there yet
    NoConnection     3
    NoLeader         4
    TimedOut         4
    NotAuthorised    5
    NotFound         6  no such role, node, version, schedule
    ProblemsFound    7  validation or simulation
"""

from __future__ import annotations

from manor.config.errors import ManorError


class CtlFailed(ManorError):
    """The root of this command's failures."""


class BadUsage(CtlFailed):
    """`{"button"` is no JSON: ...; write an object, or @FILE"""

    exit_status = 2


class NotSupported(CtlFailed):
    """`history` is not supported yet"""

    exit_status = 2

    def __init__(self, what: str) -> None:
        super().__init__(f"`{what}` is not supported yet")


class NoConnection(CtlFailed):
    """http://127.0.0.1:8379: Connection refused"""

    exit_status = 3


class NoLeader(CtlFailed):
    """no leader within 30 s, says http://127.0.0.1:8379"""

    exit_status = 4


class TimedOut(CtlFailed):
    """http://127.0.0.1:8379/v1/wait_action: no answer within 30 s"""

    exit_status = 4


class NotAuthorised(CtlFailed):
    """http://127.0.0.1:8379/v1/action: this needs a token"""

    exit_status = 5


class NotFound(CtlFailed):
    """no such role `sight`; there are `site`, `balancer`"""

    exit_status = 6


class ProblemsFound(CtlFailed):
    """3 invariants were broken"""

    exit_status = 7
