"""`manor push`: bring an image to nodes. The shell around `push_plan.PushPlan`; start reading at `push`."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from manor.delivery import push_plan, rsync
from manor.delivery.configs import check_metadata
from manor.delivery.display import Display
from manor.delivery.errors import BadUsage, DeliveryError, NameTaken, NoConnection, NotAuthorised
from manor.delivery.id_mapped import IdMapped, open_id_map
from manor.delivery.index import Index
from manor.delivery.messages import Announce, Commit, RuntimeVersion
from manor.delivery.names import check_image_name, check_role_version, check_sandbox_name
from manor.delivery.node_client import NodeClient, Unavailable, Unverified, address_of_url, split_address
from manor.delivery.push_plan import Had, PushPlan, Sent, State, Stopped, Wait, Wanted, Why
from manor.delivery.routes import INDEX_BODY_BYTES_MAX
from manor.delivery.source import Contents, find_source, keep_index, read_contents
from manor.http.access import host_name

TICK_S: Final = 0.5
ANSWER_WITHIN_S: Final = 300.0  # a node hashes the whole image before it answers
PLAN_WITHIN_S: Final = 30.0
PATIENCE_S: Final = 20.0
DEFAULT_PORT: Final = 8379
DEFAULT_URL: Final = f"http://127.0.0.1:{DEFAULT_PORT}"
TOKEN_BYTES_MAX: Final = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """The command line, checked."""

    image: Path
    sandbox: str
    name: str | None = None
    nodes: tuple[str, ...] = ()  # empty: all nodes of the plan
    url: str = DEFAULT_URL
    token: str | None = None
    transport: rsync.Transport = field(default_factory=rsync.Transport)
    parallel: int = 8
    wait: Wait = Wait.ALL
    timeout_s: float = 1800.0
    role: str | None = None
    version: str | None = None
    metadata: Path | None = None
    dry_run: bool = False


Heard: TypeAlias = push_plan.Event | int | Exception  # an outcome; percents; a bug in the thread


@dataclass(frozen=True, slots=True)
class Target:
    """One node as a push knows it."""

    name: str  # for people: the host name, or the address that was given
    host: str  # for the remote shell
    client: NodeClient


def push(options: PushOptions, display: Display) -> int:
    """Deliver; the exit status. What can be wrong before anything is sent is raised."""
    _check(options)
    source = find_source(options.image)
    name = options.name or source.name
    if name is None:
        raise BadUsage(f"{options.image} is no image of vagga; `--name NAME` says what it is called on the nodes")
    check_image_name(name)
    metadata = _read_metadata(options, name)
    with contextlib.ExitStack() as stack:
        inside: IdMapped | None = None
        if source.needs_id_map:
            inside = stack.enter_context(open_id_map(source, options.transport.remote_shell))
        began_ns = time.time_ns()
        contents = _read(source.root, inside)
        if source.name is not None:
            keep_index(source.root, contents.index, began_ns=began_ns)
        index = contents.index
        display.say(f"{name}: id {index.id}, {index.size} bytes in {index.files} files")
        if contents.set_id:
            display.say(
                f"{contents.set_id} set-id bits are not carried: delivery knows content, links and the execute bit"
            )
        targets, others = _find_targets(options)
        if options.dry_run:
            for target in targets:
                display.node(target.name, "would get it")
            display.done({"dry_run": True, "nodes": [target.name for target in targets]})
            return 0
        campaign = _Campaign(options, display, source.root, name, index, inside, targets)
        status = campaign.run()
    if status == 0 and metadata is not None:
        status = _deliver_metadata(options, display, metadata, targets, others)
    display.done(campaign.summary(status))
    return status


# Before anything is sent.


def _check(options: PushOptions) -> None:
    check_sandbox_name(options.sandbox)
    if options.metadata is not None and (options.role is None or options.version is None):
        raise BadUsage("`--metadata` needs `--role` and `--version`: they say which version it describes")
    if options.version is not None and options.metadata is None:
        raise BadUsage("`--version` needs `--metadata`: an image alone has no version")
    if options.role is not None and options.version is not None:
        check_role_version(options.role, options.version)


def _read(root: Path, inside: IdMapped | None) -> Contents:
    try:
        return read_contents(root) if inside is None else inside.read(root)
    except OSError as error:
        raise DeliveryError(f"{error.filename or root}: cannot be read: {error.strerror}") from error


def _read_metadata(options: PushOptions, image: str) -> str | None:
    if options.metadata is None:
        return None
    try:
        text = options.metadata.read_bytes()
    except OSError as error:
        raise BadUsage(f"{options.metadata}: {error.strerror}") from error
    return with_image(text, os.fspath(options.metadata), image)


def with_image(text: bytes, file: str, image: str) -> str:
    """Metadata whose daemons and commands without an image have this one. As it was written if nothing lacks."""
    document = check_metadata(text, file)
    lacking = []
    for kind in ("daemons", "commands"):
        processes = document.get(kind) or {}
        if not isinstance(processes, dict):
            raise BadUsage(f"{file}: {kind}: a mapping of names would be right")
        for name, process in processes.items():
            if not isinstance(process, dict):
                raise BadUsage(
                    f"{file}: {kind}.{name}: a mapping such as `{{config: /config/web.yaml}}` would be right"
                )
            if process.get("image") is None:
                lacking.append(process)
    if not lacking:
        return text.decode()
    for process in lacking:
        process["image"] = image
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"  # JSON is YAML, and leaves no type open


def read_token(path: Path | None, default: Path) -> str | None:
    """The token of a file; None if only the default is meant and it is not there."""
    try:
        text = (path or default).read_text()
    except FileNotFoundError as error:
        if path is None:
            return None
        raise BadUsage(f"{path}: {error.strerror}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"{path or default}: cannot be read as a token") from error
    token = text.strip()
    if not token or len(token) > TOKEN_BYTES_MAX or any(not 0x21 <= ord(c) <= 0x7E for c in token):
        raise BadUsage(f"{path or default}: holds no token; one line as `verwalter-ctl token create` prints it")
    return token


def _find_targets(options: PushOptions) -> tuple[list[Target], list[Target]]:
    """Who must have the image, and who else belongs to the cluster."""
    direct = [word for word in options.nodes if ":" in word]
    targets = [_target(options, word, host_name(word) or word, [word]) for word in dict.fromkeys(direct)]
    named = [word for word in options.nodes if ":" not in word]
    if direct and not named:
        return targets, []
    role = options.role if not options.nodes else None
    rows = {row.hostname: row for row in _patiently(partial(_any_node(options).plan, options.sandbox, role))}
    unknown = [word for word in named if word not in rows]
    if unknown:
        known = ", ".join(sorted(rows)) or "none"
        raise BadUsage(f"no node `{unknown[0]}` in this cluster; known: {known}")
    wanted = named or sorted(rows)
    if not wanted and not targets:
        raise DeliveryError(f"no node should have an image of {options.sandbox}; `--nodes HOST,...` names some")
    targets += [_target(options, name, name, rows[name].addresses) for name in dict.fromkeys(wanted)]
    others = [_target(options, name, name, row.addresses) for name, row in rows.items() if name not in wanted]
    return targets, others


def _target(options: PushOptions, name: str, host: str, addresses: Sequence[str]) -> Target:
    for address in addresses:
        split_address(address)
    return Target(name, host, NodeClient(name, tuple(addresses), options.token, ANSWER_WITHIN_S))


def _any_node(options: PushOptions) -> NodeClient:
    at = address_of_url(options.url, DEFAULT_PORT)
    return NodeClient(at, (at,), options.token, PLAN_WITHIN_S)


# The bytes.


class _Campaign:
    """Performs the actions of the plan, each in its thread, and tells the plan what they came to."""

    def __init__(
        self,
        options: PushOptions,
        display: Display,
        root: Path,
        name: str,
        index: Index,
        inside: IdMapped | None,
        targets: Sequence[Target],
    ) -> None:
        self._options = options
        self._display = display
        self._root = root
        self._name = name
        self._index = index
        self._index_bytes = index.to_bytes()
        self._inside = inside
        self._targets = {target.name: target for target in targets}
        self._announce = Announce(
            sandbox=options.sandbox,
            name=name,
            id=index.id,
            size=index.size,
            files=index.files,
            source=f"{_user()}@{socket.gethostname()}",
        )
        self._plan = PushPlan(
            list(self._targets), options.parallel, options.wait, ends_at=time.monotonic() + options.timeout_s
        )
        self._heard: queue.SimpleQueue[tuple[str, Heard]] = queue.SimpleQueue()
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(self) -> int:
        try:
            self._perform(self._plan.tick(time.monotonic()))
            self._show()
            while not self._plan.is_over:
                for name, event in self._events():
                    if isinstance(event, Exception):
                        raise event
                    if isinstance(event, int):
                        self._display.node(name, State.SENDING.value, percent=event)
                    else:
                        self._perform(self._plan.receive(name, event, time.monotonic()))
                self._perform(self._plan.tick(time.monotonic()))
                self._show()
        finally:
            for process in list(self._running):
                process.terminate()
        return self._plan.exit_status

    def summary(self, status: int) -> dict[str, Any]:
        nodes = self._plan.nodes.values()
        return {
            "status": status,
            "sandbox": self._options.sandbox,
            "name": self._name,
            "id": self._index.id,
            "ready": [node.name for node in nodes if node.state is State.READY],
            "failed": {node.name: node.error for node in nodes if node.state is State.FAILED},
        }

    def _events(self) -> Iterator[tuple[str, Heard]]:
        """What has come in, after waiting a moment for it."""
        with contextlib.suppress(queue.Empty):
            yield self._heard.get(timeout=TICK_S)
            while True:
                yield self._heard.get_nowait()

    def _show(self) -> None:
        for node in self._plan.nodes.values():
            if node.state is State.SENDING:
                continue  # its percents are shown as they come
            error = node.error if node.state in (State.PAUSED, State.FAILED) else ""
            self._display.node(node.name, node.state.value, error=error)

    def _perform(self, actions: Sequence[push_plan.Action]) -> None:
        for action in actions:
            threading.Thread(target=self._act, args=(action,), daemon=True).start()

    def _act(self, action: push_plan.Action) -> None:
        try:
            self._heard.put((action.node, self._outcome(action)))
        except Exception as bug:  # raised again where somebody sees it
            self._heard.put((action.node, bug))

    def _outcome(self, action: push_plan.Action) -> push_plan.Event:
        """Perform one action; every failure is an event too."""
        client = self._targets[action.node].client
        try:
            if isinstance(action, push_plan.Ask):
                return self._ask(client)
            if isinstance(action, push_plan.Send):
                self._send(action)
                return Sent()
            client.commit(Commit(sandbox=self._announce.sandbox, name=self._name, id=self._index.id))
            return Had()
        except NoConnection as error:
            return Stopped(Why.UNREACHABLE, str(error))
        except NotAuthorised as error:
            return Stopped(Why.UNAUTHORISED, str(error))
        except NameTaken as error:
            return Stopped(Why.TAKEN, str(error))
        except (Unverified, rsync.RsyncFailed) as error:
            return Stopped(Why.TROUBLE, str(error))
        except (DeliveryError, OSError) as error:
            return Stopped(Why.REFUSED, str(error))

    def _ask(self, client: NodeClient) -> push_plan.Event:
        announced = client.announce(self._announce)
        if announced.state == "wanted" and not announced.index_known and len(self._index_bytes) <= INDEX_BODY_BYTES_MAX:
            client.put_index(self._index.id, self._index_bytes)
            announced = client.announce(self._announce)
        if announced.state == "have":
            return Had()
        if announced.staging is None:
            raise DeliveryError(f"{client.name}: wants the image but does not say where to")
        return Wanted(announced.staging, announced.link_dest)

    def _send(self, action: push_plan.Send) -> None:
        inside = self._inside
        words = rsync.command(
            self._root,
            self._targets[action.node].host,
            action.staging,
            link_dest=action.link_dest,
            transport=self._options.transport,
            rsh=inside.remote_shell if inside is not None else None,
        )
        started: list[subprocess.Popen[bytes]] = []

        def on_start(process: subprocess.Popen[bytes]) -> None:
            started.append(process)
            self._running.add(process)

        try:
            rsync.run(
                inside.command(words) if inside is not None else words,
                on_percent=lambda percent: self._heard.put((action.node, percent)),
                on_start=on_start,
                pass_fds=(inside.namespace,) if inside is not None else (),
            )
        finally:
            self._running.difference_update(started)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


# The metadata, last.


def _deliver_metadata(
    options: PushOptions, display: Display, text: str, targets: Sequence[Target], others: Sequence[Target]
) -> int:
    """Make the version known to every node. Those that had to get the image must know it, the others should."""
    assert options.role is not None and options.version is not None
    runtime = RuntimeVersion(role=options.role, version=options.version, text=text)
    failures: dict[str, DeliveryError] = {}
    for target in (*targets, *others):
        try:
            _patiently(partial(target.client.put_runtime, runtime))
        except DeliveryError as error:
            failures[target.name] = error
            display.say(f"{target.name}: metadata of {options.role} {options.version} not delivered: {error}")
    failed = [failures[target.name] for target in targets if target.name in failures]
    if not failed:
        display.say(
            f"{options.role} {options.version}: metadata is on {len(targets) + len(others) - len(failures)} nodes"
        )
        return 0
    return next((e.exit_status for e in failed if isinstance(e, NameTaken | NotAuthorised)), 1)


def _patiently(ask: Callable[[], T]) -> T:
    """Ask again for a while where the cluster is busy with itself: an election takes seconds."""
    ends_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except Unavailable:
            if time.monotonic() >= ends_at:
                raise
            time.sleep(1.0)
