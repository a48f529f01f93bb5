"""How a node gets to know the first others: addresses given, addresses stored; and one that uses our own id."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from manor.cantal.gossip import numbers as bounds
from manor.cantal.gossip.messages import DuplicateId, HostAnswered, HostSilent, Packet, Record, State, rank_of
from manor.cantal.gossip.node import Node
from manor.cantal.gossip.probing import Probing
from manor.cantal.gossip.turn import Turn


@dataclass(slots=True)
class PendingHost:
    """An address that has not answered yet."""

    wait_s: float
    tries_left: int


class Joining:
    """Introductions of one node."""

    def __init__(self, node: Node, probing: Probing) -> None:
        self.duplicate_address: str | None = None
        self._node = node
        self._probing = probing
        self._hosts: dict[str, PendingHost] = {}
        self._stored: list[str] = []
        self._duplicates: deque[float] = deque()

    def add_host(self, address: str, turn: Turn) -> None:
        """Ping the address now, and again for a while. Asked twice, the schedule stays the first one's."""
        if address in self._node.record.addresses:
            return
        known = self._node.member_at(address)
        if known is not None:
            turn.tell(HostAnswered(address, known))
            return
        if address not in self._hosts:
            if len(self._hosts) >= bounds.HOSTS_MAX:
                self._node.counts.refused += 1
                return
            numbers = self._node.numbers
            host = self._hosts[address] = PendingHost(numbers.add_host_first, numbers.add_host_retries)
            self._schedule(address, host, turn.now)
        self._probing.try_address(address, None, turn)

    def _schedule(self, address: str, host: PendingHost, now: float) -> None:
        self._node.timers.at(now + host.wait_s * (0.5 + self._node.rng.random()), self._retry, address)

    def _retry(self, address: str, turn: Turn) -> None:
        host = self._hosts.get(address)
        if host is None:
            return
        if host.tries_left == 0:
            del self._hosts[address]
            turn.tell(HostSilent(address))
            return
        numbers = self._node.numbers
        host.tries_left -= 1
        host.wait_s = min(host.wait_s * numbers.add_host_factor, numbers.add_host_cap)
        self._schedule(address, host, turn.now)
        self._probing.try_address(address, None, turn)

    def answered(self, address: str, member: bytes, turn: Turn) -> None:
        if self._hosts.pop(address, None) is not None:
            turn.tell(HostAnswered(address, member))

    # --- an earlier life ------------------------------------------------------------------------------------------

    def restore(self, records: Iterable[Record], addresses: Iterable[str], now: float) -> None:
        """Members are unconfirmed until they answer; the addresses are asked in random order."""
        node = self._node
        for record in records:
            if record.id == node.record.id or record.id in node.members:
                continue
            if node.believes(record.incarnation, now):
                rank = rank_of(record.incarnation, State.UNCONFIRMED)
                node.members.add(record, rank, now=now, since=now, rng=node.rng)
        self._stored = [address for address in addresses if address not in node.record.addresses]
        node.rng.shuffle(self._stored)
        self._visit_stored(now)

    def retry_stored(self, turn: Turn) -> None:
        """While nobody is alive: so a cluster that was switched off finds itself again."""
        if not self._node.members.available:
            self._visit_stored(turn.now)

    def _visit_stored(self, now: float) -> None:
        for number, address in enumerate(self._stored):
            self._node.timers.at(now + number / bounds.RESTORED_HOSTS_PER_S, self._visit, address)

    def _visit(self, address: str, turn: Turn) -> None:
        if self._node.member_at(address) is None:
            self.add_host(address, turn)

    # --- our own id -----------------------------------------------------------------------------------------------

    def meet_own_id(self, packet: Packet, address: str, turn: Turn) -> None:
        """Our own packet by a detour, or a machine with our id: such packets are not believed in anything."""
        node = self._node
        if packet.start == node.start or address in node.record.addresses:
            return
        node.counts.duplicate_id += 1
        while self._duplicates and turn.now - self._duplicates[0] > bounds.DUPLICATE_WINDOW_S:
            self._duplicates.popleft()
        self._duplicates.append(turn.now)
        if len(self._duplicates) <= 2 * bounds.DUPLICATES_TO_WARN:
            self._probing.try_address(address, None, turn)  # so that the other one notices too
        if len(self._duplicates) == bounds.DUPLICATES_TO_WARN:
            self.duplicate_address = address
            turn.tell(DuplicateId(address))
