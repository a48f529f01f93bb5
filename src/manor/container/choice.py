"""Which OCI runtime: the first that really runs an empty container on this host, remembered until the next boot.

A runtime that is installed need not work: crun refuses hosts with hybrid cgroups, others lack a kernel feature. Only
running one tells, and costs some 50 ms, so the result is kept for boot, binaries and kind of user.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from manor.config.errors import ManorError
from manor.container import bundle
from manor.container.defaults import PROC, read_only_bind
from manor.container.init import OWN_INIT
from manor.container.runtime_log import last_message
from manor.kernel import process

Flavour = Literal["runc", "crun"]

CANDIDATES: Final[tuple[Flavour, ...]] = ("crun", "runc")  # crun starts containers three times faster
MORE_DIRECTORIES: Final = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
# All that a runtime gets to see of our environment: it would act upon LISTEN_FDS and others.
ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

PROBE_TIMEOUT_S: Final = 20.0
VERSION_TIMEOUT_S: Final = 10.0
MESSAGE_CHARACTERS_MAX: Final = 500

log = logging.getLogger(__name__)


class RuntimeBinary(msgspec.Struct, frozen=True):
    """An OCI runtime on this host. Its flavour decides what options it knows."""

    path: Path
    flavour: Flavour
    version: str


class RuntimeNotFound(ManorError):
    """no OCI runtime works here; crun: not found in PATH; runc: /usr/sbin/runc: operation not permitted"""

    exit_status = 127


class _Stamp(msgspec.Struct, frozen=True):
    """A binary as it was when it was tried; another one has other values."""

    path: str
    inode: int
    modified_ns: int
    size: int


class _Remembered(msgspec.Struct, frozen=True):
    boot_id: str
    binaries: tuple[_Stamp, ...]
    chosen: RuntimeBinary


def find_runtime(choice: str = "auto", *, cache_dir: Path, user_namespace: bool = False) -> RuntimeBinary:
    """The runtime for `auto`, `runc`, `crun` or an absolute path.

    Args:
        choice: `auto` tries candidates by running an empty container; anything else is only asked for its version.
        cache_dir: where results are kept; one that cannot be written costs time, nothing else.
        user_namespace: try with a user namespace in the bundle, as an ordinary user has to.
    Raises:
        RuntimeNotFound: none works; the message has each candidate's own.
    """
    binaries = list(_candidates(choice))
    stamps = tuple(_stamp(path) for path in binaries)
    kept_in = cache_dir / f"oci-runtime.{_kind(choice, user_namespace)}.json"
    remembered = _recall(kept_in)
    if remembered and (remembered.boot_id, remembered.binaries) == (process.boot_id(), stamps):
        return remembered.chosen
    chosen = _first_working(choice, binaries, user_namespace=user_namespace)
    _keep(kept_in, _Remembered(process.boot_id(), stamps, chosen))
    return chosen


def _candidates(choice: str) -> Iterator[Path]:
    if choice.startswith("/"):
        if not os.access(choice, os.X_OK) or os.path.isdir(choice):
            raise RuntimeNotFound(f"oci-runtime `{choice}` is not an executable file; give the path of one, or `auto`")
        yield Path(choice)
        return
    if choice != "auto" and choice not in CANDIDATES:
        raise RuntimeNotFound(f"oci-runtime `{choice}` is unknown; write `auto`, `crun`, `runc` or an absolute path")
    directories = f"{os.environ.get('PATH', '')}:{MORE_DIRECTORIES}"
    for name in CANDIDATES if choice == "auto" else [choice]:
        if found := shutil.which(name, path=directories):
            yield Path(found).absolute()
        elif choice != "auto":
            raise RuntimeNotFound(f"oci-runtime `{name}` was not found in {directories}; install the package `{name}`")


def _first_working(choice: str, binaries: list[Path], *, user_namespace: bool) -> RuntimeBinary:
    failures: list[str] = []
    for path in binaries:
        try:
            binary = identify(path)
            if choice == "auto":
                probe(binary, user_namespace=user_namespace)
            return binary
        except RuntimeNotFound as error:
            log.info("runtime.refused path=%s reason=%s", path, error)
            failures.append(str(error))
    if not binaries:
        failures.append("neither crun nor runc is installed")
    raise RuntimeNotFound(f"no usable OCI runtime; install the package `crun` or `runc`; {'; '.join(failures)}")


def identify(path: Path) -> RuntimeBinary:
    """Ask a runtime what it is: `runc version 1.1.5`, `crun version 1.8.1`. Raises RuntimeNotFound."""
    try:
        answer = subprocess.run(
            [path, "--version"],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=VERSION_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise RuntimeNotFound(f"{path}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise RuntimeNotFound(f"{path}: `--version` gave no answer in {VERSION_TIMEOUT_S:.0f} s") from None
    words = answer.stdout.decode(errors="replace").split()
    flavour: Flavour
    match words[:1]:
        case ["runc"]:
            flavour = "runc"
        case ["crun"]:
            flavour = "crun"
        case _:
            raise RuntimeNotFound(f"{path}: `--version` names neither runc nor crun; only these two can be driven")
    return RuntimeBinary(path=path, flavour=flavour, version=words[2] if len(words) > 2 else "unknown")


def probe(binary: RuntimeBinary, *, user_namespace: bool) -> None:
    """Run an empty container to its end; raises RuntimeNotFound with the runtime's message when that fails."""
    with tempfile.TemporaryDirectory(prefix="manor-probe-") as name:
        directory = Path(name).resolve()
        (directory / "rootfs").mkdir()
        bundle.write_bundle(directory / "bundle", _probe_config(directory, user_namespace=user_namespace))
        identifier = f"manor-probe-{os.getpid()}-{directory.name[-8:]}"
        log_file = directory / "log"
        common: list[str | Path] = [
            binary.path,
            "--root",
            directory / "state",
            "--log",
            log_file,
            "--log-format",
            "json",
        ]
        try:
            result = subprocess.run(
                [*common, "run", "--bundle", directory / "bundle", identifier],
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PROBE_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeNotFound(f"{binary.path}: {error}") from error
        finally:
            # After a probe that ended by itself this finds nothing to delete.
            subprocess.run(
                [*common, "delete", "--force", identifier],
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=PROBE_TIMEOUT_S,
                check=False,
            )
        if result.returncode != 0:
            said = last_message(log_file) or result.stdout.decode(errors="replace").strip().rpartition("\n")[2]
            said = said[:MESSAGE_CHARACTERS_MAX] or f"exit status {result.returncode}"
            raise RuntimeNotFound(f"{binary.path}: {said}")


def _probe_config(directory: Path, *, user_namespace: bool) -> bundle.Config:
    """A container that runs `manor-init --help`: a static program that needs nothing of the image."""
    namespaces = ["pid", "ipc", "uts", "mount", *(["user"] if user_namespace else [])]
    linux = bundle.Linux(namespaces=tuple(bundle.Namespace(type=kind) for kind in namespaces))
    if user_namespace:
        linux = bundle.Linux(
            namespaces=linux.namespaces,
            uid_mappings=(bundle.IdMapping(container_id=0, host_id=os.geteuid(), size=1),),
            gid_mappings=(bundle.IdMapping(container_id=0, host_id=os.getegid(), size=1),),
        )
    return bundle.Config(
        process=bundle.Process(
            args=("/init", "--help"),
            cwd="/",
            user=bundle.User(uid=0, gid=0),
            capabilities=bundle.Capabilities(),
            no_new_privileges=True,
        ),
        root=bundle.Root(path=str(directory / "rootfs")),
        mounts=(PROC, read_only_bind(OWN_INIT, "/init")),
        linux=linux,
    )


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return _Stamp(str(path), status.st_ino, status.st_mtime_ns, status.st_size)


def _kind(choice: str, user_namespace: bool) -> str:
    name = choice.strip("/").replace("/", "+")
    return f"{name}.{'user' if user_namespace else 'host'}.{os.geteuid()}"


def _recall(path: Path) -> _Remembered | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Remembered, dec_hook=lambda kind, text: kind(text))
    except (OSError, msgspec.MsgspecError):  # not yet, or by another version of manor: try the candidates again
        return None


def _keep(path: Path, found: _Remembered) -> None:
    unfinished = path.with_name(f".tmp.{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(msgspec.json.encode(found, enc_hook=str))
        unfinished.rename(path)
    except OSError as error:  # a cache that cannot be written: the next start tries the candidates again
        log.info("runtime.not_remembered path=%s error=%s", path, error.strerror)
