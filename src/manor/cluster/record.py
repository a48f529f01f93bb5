"""What a cluster on this machine consists of, in a file, so that another process can enter it or take it away."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from manor.cluster.node import NodeSpec, Running
from manor.config.errors import ManorError

FILE = "cluster.json"


class NoCluster(ManorError):
    """/var/lib/manor-demo: no cluster is here; `manor demo` makes one"""


class ClusterRecord(msgspec.Struct, kw_only=True):
    """Rewritten before anything it names is made, so that nothing can be left without a trace."""

    bridge: str
    host_address: str  # with its prefix length
    cgroup: str
    boot_id: str
    nodes: dict[str, NodeSpec]
    running: dict[str, Running]


def read_record(directory: Path) -> ClusterRecord:
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=ClusterRecord)
    except FileNotFoundError:
        raise NoCluster(f"{directory}: no cluster is here; `manor demo` makes one") from None
    except msgspec.MsgspecError as error:
        raise NoCluster(f"{directory / FILE}: not the record of a cluster ({error}); remove the directory") from None


def write_record(directory: Path, record: ClusterRecord) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = directory / f".tmp.{FILE}.{os.getpid()}"
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    unfinished.rename(directory / FILE)
