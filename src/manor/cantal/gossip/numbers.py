"""Every number of gossip: what an administrator may set, and the bounds nobody may.

The numbers pull both ways: noticing a death early (short time-outs) against never accusing the living (long ones).
Change a default only with all simulated scenarios in full size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from manor.config.units import Duration, Range

PAYLOAD_BYTES_MAX: Final = 1_400  # of what we send: with header and seal it still fits an Ethernet frame
RECEIVED_BYTES_MAX: Final = 8_192
DEPTH_MAX: Final = 6
LIST_MAX: Final = 256
TEXT_BYTES_MAX: Final = 255

MEMBERS_MAX: Final = 20_000  # twice the largest cluster that was simulated
ADDRESSES_MAX: Final = 16
UNREACHABLE_SHOWN_MAX: Final = 8  # ids of unreachable members in one report
HEALTH_MAX: Final = 8
REPLAY_WINDOW: Final = 256  # packets of one sender
RELAYS_MAX: Final = 256  # pings under way for others
TRIES_MAX: Final = 20_000  # pings under way of our own
WANTED_MAX: Final = 4_096  # members heard of whose record was not seen yet
WANTED_AGAIN_S: Final = 1.0  # a record is asked for once in this time
WANTED_PER_PACKET: Final = 16
NEWS_MAX: Final = 2 * MEMBERS_MAX
RECENT_PINGS_S: Final = 10.0
AGE_S_MAX: Final = 30 * 86_400.0  # ages beyond are cut: nobody remembers that long
INCARNATION_AHEAD_MS_MAX: Final = 10 * 365 * 86_400_000  # further in the future: no clock of ours, refused

SPREAD_TO: Final = 3  # members told at once of something new
SPREAD_PACKETS_PER_S: Final = 5  # of those packets; what comes later rides along
LEAVE_TO: Final = 10  # members told when leaving

BUCKETS: Final = 64  # of the digest
DIGEST_ANSWERS_MAX: Final = 8  # packets in answer to one digest

PULL_FROM: Final = 3  # members the table is pulled from
PULL_PAGES_IN_FLIGHT: Final = 8
PULL_TRIES: Final = 3
PULL_TIMEOUT_S: Final = 0.5
PULL_RANGE_MEMBERS: Final = 20  # about two pages a range
PULL_RANGES_MAX: Final = 256
PULL_AGAIN_S: Final = (1.0, 60.0)  # pause after a pull; doubled up to the second while pulls bring nothing
PAGES_PER_S: Final = 1_000  # served to all who ask: 1.4 MB a second at most

RESTORED_HOSTS_PER_S: Final = 50  # stored addresses contacted at start
HOSTS_MAX: Final = 50_000  # addresses waiting for a first answer
UNCONFIRMED_FOR_S: Final = 3_600.0  # a member from storage is dropped after this time without contact
REMOVE_LEFT_AFTER_S: Final = 3_600.0  # a member that said goodbye, or was taken away
UPKEEP_EVERY_S: Final = 10.0
ACCUSED_PING_EVERY_S: Final = 1.0

DUPLICATES_TO_WARN: Final = 3  # packets with our own id from elsewhere within DUPLICATE_WINDOW_S
DUPLICATE_WINDOW_S: Final = 60.0


Time = Annotated[Duration, Range(0.01, 86_400)]
Count = Annotated[int, Range(0, 1_000)]


class GossipNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """`gossip.*` of agent.yaml. Times in seconds."""

    probe_interval: Time = 1.0
    probes_per_round: Count | None = None  # None: by the number of members, see `probes_in_round`
    probe_timeout_min: Time = 0.2
    probe_timeout_max: Time = 1.0
    indirect_probes: Count = 3
    probe_deadline: Time = 2.0
    suspicion_min: Time = 4.0
    suspicion_max: Time | None = None  # None: 6 x suspicion-min
    suspicion_confirmations: Count | None = None  # None: 3, but 0 in clusters of fewer than 5
    retransmit: Count | None = None  # None: by the number of members, see `retransmissions`
    updates_per_packet: Count = LIST_MAX  # as many as fit
    friends_per_packet: Count = 3
    digest_interval: Time = 30.0
    dead_probe_interval: Time = 10.0
    add_host_retries: Count = 5
    add_host_first: Time = 0.1
    add_host_factor: Annotated[float, Range(1, 100)] = 2.0
    add_host_cap: Time = 3_600.0
    seed_retry: Time = 30.0
    stale_after: Time = 600.0
    remove_after: Annotated[Duration, Range(0.01, 30 * 86_400)] = 48 * 3_600.0  # dead
    link_memory: Time = 60.0

    def __problems__(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.suspicion_max is not None and self.suspicion_max < self.suspicion_min:
            yield ("suspicion-max",), f"shorter than suspicion-min; {self.suspicion_min:g} s or more would be right"
        if self.probe_deadline <= self.probe_timeout_max:
            yield (
                ("probe-deadline",),
                f"not longer than probe-timeout-max; more than {self.probe_timeout_max:g} s would be right",
            )

    def probes_in_round(self, members: int) -> int:
        """Below 26 members each is probed every 5 rounds."""
        if self.probes_per_round is not None:
            return min(self.probes_per_round, members)
        return min(max(math.ceil(members / 5), 1), 5)

    def retransmissions(self, members: int) -> int:
        """How often one node sends one update."""
        return self.retransmit if self.retransmit is not None else 4 * math.ceil(math.log2(members + 1))

    def confirmations(self, members: int) -> int:
        """How many further accusers bring the suspicion down to its shortest."""
        if members < 5:
            return 0
        return self.suspicion_confirmations if self.suspicion_confirmations is not None else 3

    def suspicion_s(self, confirmed: int, members: int) -> float:
        """From the first suspicion to death, with so many accusers besides the first."""
        wanted = self.confirmations(members)
        if confirmed >= wanted:
            return self.suspicion_min
        longest = self.suspicion_max if self.suspicion_max is not None else 6 * self.suspicion_min
        return longest - (longest - self.suspicion_min) * math.log(confirmed + 1) / math.log(wanted + 1)

    def dead_probe_chance(self, members: int) -> float:
        """Whether a node tries a dead member this time: about three a second in a whole cluster of any size."""
        return min(1.0, 30 / max(members, 1))


DEFAULTS: Final = GossipNumbers()

assert DEFAULTS.probe_timeout_max < DEFAULTS.probe_deadline  # the relays need the time between
assert DEFAULTS.probe_deadline + DEFAULTS.suspicion_min < 10 - 2  # a death is known everywhere within 10 s
assert DEFAULTS.suspicion_min > 3 * ACCUSED_PING_EVERY_S  # the accused hears of it at least three times
assert DEFAULTS.probe_deadline * (1 + HEALTH_MAX) / 2 < RECENT_PINGS_S  # so that `got_direct` can be told
assert PULL_TRIES * PULL_TIMEOUT_S < 5.0
assert DEFAULTS.friends_per_packet + WANTED_PER_PACKET <= LIST_MAX
