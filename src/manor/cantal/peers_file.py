"""`peers.json`: who was known, so that a restarted agent finds its cluster without being told again.

{"ip_addresses": ["1.2.3.4:22682", ...],                         all addresses of all known peers (legacy name)
 "own": {"id": HEX, "incarnation": n},
 "members": [{"id", "incarnation", "addresses", "hostname", "name", "port", "version"}, ...]}
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import msgspec

from manor.cantal.addresses import join, split
from manor.cantal.gossip.core import Gossip
from manor.cantal.gossip.messages import STATE_MASK, Record, State
from manor.cantal.gossip.numbers import ADDRESSES_MAX, MEMBERS_MAX, TEXT_BYTES_MAX

log = logging.getLogger(__name__)

FILE_BYTES_MAX: Final = 64 << 20


class Own(msgspec.Struct, frozen=True):
    id: str
    incarnation: int


class StoredMember(msgspec.Struct, frozen=True):
    id: str
    incarnation: int
    addresses: tuple[str, ...]
    hostname: str
    name: str
    port: int
    version: str = ""


class StoredPeers(msgspec.Struct, frozen=True):
    ip_addresses: tuple[str, ...] = ()
    own: Own | None = None
    members: tuple[StoredMember, ...] = ()


def snapshot(core: Gossip) -> bytes:
    """The file's content for what is known now. Equal knowledge gives equal bytes."""
    members = []
    for slot in core.members:
        record, state = core.members.records[slot], core.members.ranks[slot] & STATE_MASK
        if state < State.LEFT:
            members.append(
                StoredMember(
                    id=record.id.hex(),
                    incarnation=core.members.ranks[slot] >> 3,
                    addresses=record.addresses,
                    hostname=record.host_name,
                    name=record.node_name,
                    port=record.port,
                    version=record.version,
                )
            )
    every = dict.fromkeys(address for member in members for address in member.addresses)
    own = Own(core.record.id.hex(), core.record.incarnation)
    return msgspec.json.encode(StoredPeers(tuple(every), own, tuple(members)))


def read(path: Path) -> StoredPeers:
    """What was stored; nothing, with a warning, if it cannot be used."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        return msgspec.json.decode(content, type=StoredPeers)
    except FileNotFoundError:
        return StoredPeers()
    except OSError as error:
        log.warning("peers.unreadable file=%s reason=%s", path, error.strerror)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("peers.damaged file=%s reason=%s: going on without it", path, error)
    return StoredPeers()


def records_of(stored: StoredPeers) -> list[Record]:
    """The stored members that make sense."""
    found = []
    for member in stored.members[:MEMBERS_MAX]:
        try:
            identity = bytes.fromhex(member.id)
            usable = tuple(_address(address) for address in member.addresses[:ADDRESSES_MAX])
        except ValueError:
            continue
        texts = (member.hostname, member.name, member.version)
        if len(identity) == 16 and 0 <= member.incarnation < 2**60 and all(len(t) <= TEXT_BYTES_MAX for t in texts):
            found.append(Record(identity, member.incarnation, usable, *texts[:2], member.port & 0xFFFF, texts[2]))
    return found


def addresses_of(stored: StoredPeers) -> list[str]:
    found = []
    for address in stored.ip_addresses[: MEMBERS_MAX * 2]:
        try:
            found.append(_address(address))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


def _address(text: str) -> str:
    """Raises ValueError if it is none."""
    ip, port = split(text)
    if not 0 < port < 65_536:
        raise ValueError(text)
    return join(ip, port)
