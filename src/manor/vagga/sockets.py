"""`pass-tcp-socket`: a listening socket made before the command starts."""

from __future__ import annotations

import re
import socket
from typing import Final

from manor.vagga.errors import PreparationError

BACKLOG: Final = 128
_FORM: Final = re.compile(r"(?:(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<any>\*)|(?P<host>[^:\[\]*]+)):)?(?P<port>[0-9]{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """`PORT`, `HOST:PORT`, `[V6]:PORT`, `*:PORT` -> host and port; ValueError for another form."""
    found = _FORM.fullmatch(text.strip())
    if found is None or not 0 < int(found["port"]) <= 65535:
        raise ValueError(f"`{text}` is no address; write `PORT`, `HOST:PORT`, `[V6]:PORT` or `*:PORT`")
    if found["any"]:
        return "0.0.0.0", int(found["port"])
    return found["v6"] or found["host"] or "127.0.0.1", int(found["port"])


def listen(text: str) -> socket.socket:
    """A blocking socket that listens there. PreparationError: bad form, no such name, in use."""
    try:
        host, port = parse_address(text)
        found = {
            (family, address) for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        }
    except ValueError as error:
        raise PreparationError(f"pass-tcp-socket: {error}") from None
    except OSError as error:
        raise PreparationError(
            f"pass-tcp-socket: `{text}` cannot be resolved: {error.strerror}; give an address"
        ) from None
    if len(found) != 1:
        raise PreparationError(f"pass-tcp-socket: `{host}` has {len(found)} addresses; give one of them")
    family, address = found.pop()
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise PreparationError(
            f"pass-tcp-socket: cannot listen on `{text}`: {error.strerror}; choose another port"
        ) from None
    return sock
