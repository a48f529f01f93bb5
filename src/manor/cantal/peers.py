"""The member table as documents: `/all_peers`, `/gossip_links`, the gossip part of `/status`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from manor.cantal.gossip.claims import Link
from manor.cantal.gossip.core import Gossip
from manor.cantal.gossip.messages import AVAILABLE, STATE_MASK, Direction, State, incarnation_of
from manor.cantal.gossip.observations import Hearsay, Observation

WallMs = Callable[[float], int]  # a moment of the core's clock -> milliseconds since 1970

_UNSEEN = Observation()


def all_peers(core: Gossip, now: float, wall_ms: WallMs) -> list[dict[str, Any]]:
    """One document per member, the own node left out; both legacy forms of the fields are there."""
    unreachable: dict[bytes, list[dict[str, str]]] = {}
    for link in named_links(core, now):
        unreachable.setdefault(link.target, []).append({"id": link.observer.hex(), "direction": link.direction})
    return [
        _peer(core, slot, wall_ms, unreachable.get(core.members.directory.ids[slot], []))
        for slot in core.members
        if core.members.ranks[slot] & STATE_MASK != State.REMOVED
    ]


def _peer(core: Gossip, slot: int, wall_ms: WallMs, unreachable_from: list[dict[str, str]]) -> dict[str, Any]:
    members = core.members
    member = members.directory.ids[slot]
    record, rank = members.records[slot], members.ranks[slot]
    state = State(rank & STATE_MASK)
    seen = core.observations.get(member, _UNSEEN)
    heard = core.hearsay.get(member)

    def at(moment: float) -> int | None:
        return wall_ms(moment) if moment else None

    last_roundtrip = None
    if seen.roundtrip_at:
        last_roundtrip = [seen.roundtrip_address, at(seen.roundtrip_at), int(seen.roundtrip_ms)]
    return {
        "id": member.hex(),
        "hostname": record.host_name or member.hex(),
        "name": record.node_name or record.host_name or member.hex(),
        "addresses": list(record.addresses),
        "known_since": wall_ms(members.known_since[slot]),
        "primary_addr": seen.primary or (record.addresses[0] if record.addresses else None),
        "last_report_direct": at(seen.direct_at),
        "last_report": at(heard.at) if heard is not None else None,
        "probe_time": at(seen.probe_at),
        "last_probe": [at(seen.probe_at), seen.probe_address] if seen.probe_at else None,
        "probes_sent": seen.probes_sent,
        "pings_received": seen.pings_received,
        "pongs_received": seen.pongs_received,
        "last_roundtrip": last_roundtrip,
        "random_peer_roundtrip": _third_roundtrip(core, member, heard, wall_ms),
        "report": _report(heard, wall_ms),
        "roundtrip": last_roundtrip[2] if last_roundtrip is not None else None,
        "peers": heard.report.peers if heard is not None else None,
        "has_remote": heard.report.has_remote if heard is not None else None,
        "probe_addr": seen.probe_address,
        "state": state.name.lower(),
        "available": state in AVAILABLE,
        "state_since": wall_ms(members.since[slot]),
        "incarnation": incarnation_of(rank),
        "suspected_by": [source.hex() for source in core.suspected_by(member)],
        "unreachable_from": unreachable_from,
        "scan_age": heard.report.scan_age_ms if heard is not None else None,
        "version": record.version,
        "clock_skew": None,
        "rtt_avg": round(seen.smoothed_s * 1000, 3) if seen.smoothed_s is not None else None,
    }


def _report(heard: Hearsay | None, wall_ms: WallMs) -> list[Any] | None:
    if heard is None:
        return None
    return [wall_ms(heard.at), {"peers": heard.report.peers, "has_remote": heard.report.has_remote}]


def _third_roundtrip(core: Gossip, member: bytes, heard: Hearsay | None, wall_ms: WallMs) -> list[Any] | None:
    if heard is None or heard.via == member or heard.roundtrip_ms is None:
        return None
    slot = core.members.slot(heard.via)
    addresses = core.members.records[slot].addresses if slot is not None else ()
    return [addresses[0] if addresses else heard.via.hex(), wall_ms(heard.at), heard.roundtrip_ms]


class NamedLink:
    """A bad link with its direction in words."""

    __slots__ = ("direction", "last_seen", "observer", "since", "target")

    def __init__(self, link: Link, direction: str) -> None:
        self.observer, self.target = link.observer, link.target
        self.since, self.last_seen = link.since, link.last_seen
        self.direction = direction


def named_links(core: Gossip, now: float) -> list[NamedLink]:
    """All bad links. `both` where each side says that its requests get lost."""
    links = core.links(now)
    losing = {(link.observer, link.target) for link in links if link.direction is Direction.REQUEST_LOST}
    return [NamedLink(link, _direction(link, losing)) for link in links]


def _direction(link: Link, losing: set[tuple[bytes, bytes]]) -> str:
    if link.direction is Direction.REPLY_LOST:
        return "reply_lost"
    return "both" if (link.target, link.observer) in losing else "request_lost"


def link_documents(links: Iterable[NamedLink], wall_ms: WallMs) -> list[dict[str, Any]]:
    return [
        {
            "from": link.observer.hex(),
            "to": link.target.hex(),
            "direction": link.direction,
            "since": wall_ms(link.since),
            "last_seen": wall_ms(link.last_seen),
        }
        for link in links
    ]
