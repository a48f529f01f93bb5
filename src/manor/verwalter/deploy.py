"""Deployments on this node: one at a time, each role by a `verwalter-render` process of its own.

Schedules that arrive meanwhile coalesce, only the newest is deployed next. What to render is decided in
`deployment_plan.py`; here are the processes, the files they read, and the logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import string
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from manor import VERSION
from manor.kernel.process import set_parent_death_signal
from manor.verwalter.deployment_log import DeploymentLog, LogFile
from manor.verwalter.deployment_plan import (
    RoleWork,
    Rules,
    next_retry_ms,
    orphans,
    read_template_directory,
    removals,
    role_work,
    roles_to_deploy,
    template_problem,
)
from manor.verwalter.responder import roles_of_node
from manor.verwalter.schedule import Envelope, encode
from manor.verwalter.settings import Logs, Render
from manor.verwalter.state_files import DeployedRole, DiskTrouble, Storage

log = logging.getLogger(__name__)

KILL_AFTER_S: Final = 5.0  # between TERM and KILL
ID_LETTERS: Final = string.ascii_letters + string.digits
ID_LENGTH: Final = 24

FAILURES: Final = {  # what an exit status of the renderer means to an administrator
    2: "arguments do not fit (version mismatch?)",
    3: "arguments do not fit (version mismatch?)",
    4: 'no usable "template" key: fix the scheduler',
    5: "version mismatch: restart verwalter",
    10: "error rendering templates",
    20: "error executing commands",
    81: "error writing the log",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and as whom this node deploys."""

    hostname: str
    cluster: str
    dc: str
    config_dir: Path
    log_dir: Path
    render: Render
    logs: Logs
    use_sudo: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _Result:
    ok: bool
    error: str | None = None


class Deployer:
    """The deployments of one daemon. Give it schedules with `want`; `run` until cancelled."""

    def __init__(self, place: Place, storage: Storage, machine: Callable[[], Any], changed: Callable[[], None]) -> None:
        """
        Args:
            machine: the facts of this node, for templates.
            changed: called after each deployment, so that the leader may be told.
        """
        self.deployed, trouble = storage.read_deployed()
        if trouble:
            log.warning("deployed.unreadable reason=%s", trouble)
        self.orphaned: tuple[str, ...] = ()
        self.number_of_roles = 0
        self.error: str | None = None
        self.last_ms = 0.0
        self.roles_failed = 0  # since the start, for the metrics
        self._place = place
        self._storage = storage
        self._machine = machine
        self._changed = changed
        self._wanted: Envelope | None = None
        self._debug_log: str | None = None
        self._forced: set[str] = set()
        self._force_all = False
        self._first = True
        self._noted_hash: str | None = None
        self._wake = asyncio.Event()

    def want(self, envelope: Envelope, debug_log: str | None = None) -> None:
        """This is the stable schedule; on the leader with the log of the round that made it."""
        self._wanted, self._debug_log = envelope, debug_log
        self._wake.set()

    def force(self, roles: Collection[str] | None) -> None:
        """Render these roles, or all of them, whether they changed or not."""
        if roles is None:
            self._force_all = True
        else:
            self._forced.update(roles)
        self._wake.set()

    def look_again(self) -> None:
        """Templates or facts may have changed."""
        self._wake.set()

    def forget_orphan(self, role: str) -> bool:
        """An operator took care of what the role left behind."""
        if role not in self.orphaned:
            return False
        del self.deployed[role]
        self._write_deployed()
        self.orphaned = tuple(name for name in self.orphaned if name != role)
        return True

    @property
    def failed(self) -> tuple[str, ...]:
        return tuple(sorted(name for name, role in self.deployed.items() if not role.ok and name not in self.orphaned))

    async def run(self) -> None:
        """Deploy whenever there is something to do. Cancelled, it finishes the role in progress."""
        while True:
            await self._wait()
            self._wake.clear()
            if self._wanted is not None:
                await self._deploy(self._wanted)

    async def _wait(self) -> None:
        retry_ms = None
        if self._wanted is not None:
            roles = self._wanted.data.get("nodes", {}).get(self._place.hostname, {}).get("roles", {})
            removing = [name for name in self.orphaned if self.deployed[name].removing]
            retry_ms = next_retry_ms(self.deployed, {*roles, *removing}, self._rules(everything=False))
        timeout_s = None if retry_ms is None else max(0.1, retry_ms / 1000 - time.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()

    async def _deploy(self, envelope: Envelope) -> None:
        began = time.monotonic()
        works = await asyncio.to_thread(self._works, envelope)
        present = {work.role for work in works}
        self._note_orphans(present)
        everything = self._first or self._force_all or self._place.render.all_roles
        forced, self._forced, self._force_all, self._first = self._forced, set(), False, False
        now_ms, rules = _now_ms(), self._rules(everything)
        chosen = (
            *removals(self.orphaned, self.deployed, self._place.config_dir / "templates", now_ms, rules),
            *roles_to_deploy(works, self.deployed, forced, now_ms, rules),
        )
        if not chosen:
            self._changed()
            return
        id = "".join(secrets.choice(ID_LETTERS) for _ in range(ID_LENGTH))
        notes = DeploymentLog(self._place.log_dir, id, self._place.logs.max_segment)
        log.info("deployment.started id=%s schedule=%s roles=%s", id, envelope.hash[:8], len(chosen))
        try:
            await self._render_all(notes, envelope, chosen)
            self.error = None
        except OSError as error:
            self.error = f"{error.filename or self._place.log_dir}: {error.strerror}"
            log.error("deployment.failed id=%s error=%s", id, self.error)
            await asyncio.sleep(1.0)  # a full disk must not become a busy loop
            self._forced.update(work.role for work in chosen)
        self.last_ms = 1000 * (time.monotonic() - began)
        self._changed()

    def _works(self, envelope: Envelope) -> list[RoleWork]:
        roles = roles_of_node(envelope.data, self._place.hostname, datetime.now(UTC))
        self.number_of_roles = len(roles.all_roles)
        machine = self._machine()
        works = []
        for role, variables in roles.to_render.items():
            template = variables.get("template")
            known = template if template_problem(template) is None else "."
            directory = read_template_directory(self._place.config_dir / "templates", str(known))
            works.append(role_work(role, variables, directory, envelope.hash, machine))
        return works

    async def _render_all(self, notes: DeploymentLog, envelope: Envelope, works: tuple[RoleWork, ...]) -> None:
        inputs = self._storage.directory / "render" / notes.deployment
        inputs.mkdir(mode=0o700)
        try:
            with notes.open_global() as global_log:
                notes.mark_global(global_log, "DeploymentStart")
                global_log.write(f"schedule-hash: {envelope.hash}")
                self._note_new_schedule(notes, global_log, envelope)
                for work in works:
                    result = await self._render_role(notes, envelope, work, inputs)
                    self._remember(work, result, notes.deployment)
                notes.mark_global(global_log, "DeploymentFinish")
        finally:
            shutil.rmtree(inputs, ignore_errors=True)

    def _note_new_schedule(self, notes: DeploymentLog, global_log: LogFile, envelope: Envelope) -> None:
        if envelope.hash == self._noted_hash:
            return
        self._noted_hash = envelope.hash
        if self._debug_log is not None:
            global_log.block("debug", "scheduler-debug", self._debug_log)
        notes.changes(envelope.hash, envelope.changes)

    async def _render_role(self, notes: DeploymentLog, envelope: Envelope, work: RoleWork, inputs: Path) -> _Result:
        if work.refusal is not None:
            log.warning("role.refused role=%r reason=%s", work.role, work.refusal)
            return _Result(ok=False, error=work.refusal)
        variables = self._all_variables(work, notes.deployment, envelope)
        with notes.open_role(work.role) as role_log:
            notes.mark_role(role_log, work.role, "RoleStart")
            role_log.block("metadata", work.role, json.dumps(variables, indent=2, sort_keys=True, ensure_ascii=False))
            arguments = self._arguments(work, variables, envelope, inputs)
            error = await self._run_renderer(arguments, role_log)
            role_log.write("Rendered successfully" if error is None else f"ERROR: {error}")
            notes.mark_role(role_log, work.role, "RoleFinish")
        return _Result(ok=error is None, error=error)

    def _all_variables(self, work: RoleWork, deployment: str, envelope: Envelope) -> dict[str, Any]:
        place = self._place
        return {
            "machine": self._machine(),
            "cluster": place.cluster,
            "dc": place.dc,
            "schedule_hash": envelope.hash,
            **work.variables,
            "deployment_id": deployment,
            "role": work.role,
            "verwalter_version": f"v{VERSION}",
        }

    def _arguments(self, work: RoleWork, variables: dict[str, Any], envelope: Envelope, inputs: Path) -> list[str]:
        place = self._place
        vars_file, schedule_file = inputs / f"{work.role}.vars.json", inputs / f"{work.role}.schedule.json"
        _write_private(vars_file, json.dumps(variables).encode())
        _write_private(schedule_file, encode(envelope))
        command = ["sudo", "-n", _renderer()] if place.use_sudo else [_renderer()]
        options = ["--vars-file", str(vars_file), "--schedule-file", str(schedule_file)]
        places = ["--config-dir", str(place.config_dir), "--log-dir", str(place.log_dir)]
        return [*command, *options, *places, *(["--dry-run"] if place.dry_run else [])]

    async def _run_renderer(self, arguments: list[str], role_log: LogFile) -> str | None:
        """None if it succeeded, else the reason in one line."""
        timeout_s = self._place.render.timeout
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=None if self._place.dry_run else role_log.descriptor,
                stderr=None if self._place.dry_run else role_log.descriptor,
                env={"PATH": _path(), "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/")},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        except OSError as error:
            return f"cannot start {arguments[0]}: {error.strerror}"
        try:
            async with asyncio.timeout(timeout_s):
                status = await process.wait()
        except TimeoutError:
            await _end(process)
            return f"Error rendering role. did not finish within {timeout_s:g} s"
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await process.wait()
            if process.returncode is None:
                await _end(process)
            raise
        return None if status == 0 else decoded(status)

    def _remember(self, work: RoleWork, result: _Result, deployment: str) -> None:
        if self._place.dry_run:
            return
        if work.removes and result.ok:
            del self.deployed[work.role]
            self.orphaned = tuple(name for name in self.orphaned if name != work.role)
            self._write_deployed()
            return
        before = self.deployed.get(work.role)
        again = before.failures if before is not None and before.hash == work.hash else 0
        self.deployed[work.role] = DeployedRole(
            hash=work.hash,
            ok=result.ok,
            deployment=deployment,
            at=_now_ms(),
            template=work.template,
            error=result.error,
            failures=0 if result.ok else again + 1,
            removing=work.removes,
            variables=work.variables,
        )
        self._write_deployed()
        if not result.ok:
            self.roles_failed += 1
            log.warning("role.failed role=%s deployment=%s error=%s", work.role, deployment, result.error)

    def _write_deployed(self) -> None:
        try:
            self._storage.write_deployed(self.deployed)
        except DiskTrouble as error:
            self.error = str(error)

    def _note_orphans(self, present: set[str]) -> None:
        now = orphans(self.deployed, present)
        for role in set(now) - set(self.orphaned):
            log.warning("role.orphaned role=%s", role)
        self.orphaned = now

    def _rules(self, everything: bool) -> Rules:
        return Rules(self._place.render.retry, self._place.render.retry_max, everything)


def decoded(status: int) -> str:
    """What an exit status of verwalter-render means, for the role's log."""
    meaning = FAILURES.get(status, f"killed by signal {-status}" if status < 0 else f"unknown status {status}")
    return f"Error rendering role. verwalter-render {status}; Decoded verwalter render failure: {meaning}"


def _end_with_parent() -> None:
    """Runs in the child: a renderer must not go on beside that of the next daemon. Through sudo it has no effect."""
    set_parent_death_signal(signal.SIGTERM)


async def _end(process: asyncio.subprocess.Process) -> None:
    """TERM, and KILL where that does not help; to the whole group, since commands have children."""
    for number, patience_s in ((signal.SIGTERM, KILL_AFTER_S), (signal.SIGKILL, KILL_AFTER_S)):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await process.wait()
                return


def _renderer() -> str:
    """The command installed beside this program, else the one in the path."""
    beside = Path(sys.executable).with_name("verwalter-render")
    return str(beside) if beside.exists() else shutil.which("verwalter-render") or "verwalter-render"


def _path() -> str:
    return os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def _write_private(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)


def _now_ms() -> int:
    return int(time.time() * 1000)
