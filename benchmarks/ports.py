"""Free ports of the loopback interface."""

from __future__ import annotations

import contextlib
import random
import socket

# Below those that the kernel gives to clients: one of these could take a port before the server that it is for.
RANGE = range(10_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has for TCP nor UDP. All are held until the last is found, so that they are distinct."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.sample(RANGE, len(RANGE)):
            tcp = held.enter_context(socket.socket())
            udp = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"fewer than {count} free ports from {RANGE.start} to {RANGE.stop}")
