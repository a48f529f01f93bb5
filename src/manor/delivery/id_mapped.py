"""Reading an image inside the id map it was built with, by the ordinary user who built it.

Theory of operation. Files of an image built rootless belong to subordinate ids; its builder is root over them only
inside a user namespace with the image's id map. So what reads the image, our own look at it and rsync, runs in one.
But the remote shell must not: in there ssh would take its user for root and look for root's keys. Therefore rsync is
given `outside` as its remote shell, which passes its arguments and its three standard descriptors out through a socket
to the pusher, and the pusher starts the real one with them.

    python -m manor.delivery.id_mapped make                     hold a new namespace until standard input ends
    python -m manor.delivery.id_mapped enter FD COMMAND...      become COMMAND inside the namespace of FD
    python -m manor.delivery.id_mapped read ROOT                print a Contents: number of set-id files, index
    python -m manor.delivery.id_mapped outside SOCKET ARG...    the remote shell that leaves
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manor.config.errors import ManorError
from manor.delivery.errors import DeliveryError, ImageMalformed
from manor.delivery.index import parse_index
from manor.delivery.source import Contents, Source, read_contents
from manor.kernel import namespaces
from manor.kernel.id_map import write_maps

READ_WITHIN_S: Final = 3600.0
ARGUMENT_BYTES_MAX: Final = 128 * 1024

_SELF: Final = (sys.executable, "-m", "manor.delivery.id_mapped")


@dataclass(frozen=True, slots=True)
class IdMapped:
    """An open user namespace, and a door that leads out of it."""

    namespace: int  # a descriptor
    socket_path: Path

    def read(self, root: Path) -> Contents:
        words = self.command([*_SELF, "read", os.fspath(root)])
        done = subprocess.run(words, capture_output=True, pass_fds=(self.namespace,), timeout=READ_WITHIN_S)
        if done.returncode != 0:
            text = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise (ImageMalformed if done.returncode == ImageMalformed.exit_status else DeliveryError)(text)
        set_id, _, index = done.stdout.partition(b"\n")
        return Contents(parse_index(index), int(set_id))

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line that runs another one inside; pass `namespace` to it."""
        return [*_SELF, "enter", str(self.namespace), *words]

    @property
    def remote_shell(self) -> str:
        """What rsync inside is to be given as its remote shell."""
        return shlex.join([*_SELF, "outside", os.fspath(self.socket_path)])


@contextlib.contextmanager
def open_id_map(source: Source, remote_shell: str) -> Iterator[IdMapped]:
    """Make the namespace of an image, and start real remote shells for whoever asks from inside.

    Raises:
        DeliveryError: the map cannot be had; the reason.
    """
    namespace = _make_namespace(source)
    try:
        with tempfile.TemporaryDirectory(prefix="manor-push-") as directory:  # mode 0700
            path = Path(directory) / "remote-shell"
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
                listening.bind(os.fspath(path))
                listening.listen(64)
                threading.Thread(target=_serve, args=(listening, remote_shell), daemon=True).start()
                try:
                    yield IdMapped(namespace, path)
                finally:
                    with contextlib.suppress(OSError):
                        listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
    finally:
        os.close(namespace)


def _make_namespace(source: Source) -> int:
    assert source.uid_map is not None and source.gid_map is not None
    with subprocess.Popen([*_SELF, "make"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        try:
            if holder.stdout.readline() != b"ready\n":
                raise DeliveryError("user namespaces are not allowed on this machine; `vagga _doctor` says what to do")
            try:
                write_maps(holder.pid, source.uid_map, source.gid_map)
                return os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                reason = f"{error.filename or 'id map'}: {error.strerror}"
                raise DeliveryError(f"{source.root}: cannot be read inside its id map: {reason}") from error
        finally:
            holder.stdin.close()


def _serve(listening: socket.socket, remote_shell: str) -> None:
    while True:
        try:
            connection, _address = listening.accept()
        except OSError:  # shut down: the push is over
            return
        threading.Thread(target=_start_remote_shell, args=(connection, remote_shell), daemon=True).start()


def _start_remote_shell(connection: socket.socket, remote_shell: str) -> None:
    with connection:
        message, descriptors, _flags, _address = socket.recv_fds(connection, ARGUMENT_BYTES_MAX, 3)
        try:
            arguments = [*shlex.split(remote_shell), *json.loads(message)]
            status = subprocess.call(arguments, stdin=descriptors[0], stdout=descriptors[1], stderr=descriptors[2])
        except OSError as error:
            os.write(descriptors[2], f"{error.filename}: {error.strerror}\n".encode())
            status = 127
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        with contextlib.suppress(OSError):  # rsync was stopped meanwhile
            connection.send(str(status).encode())


# Inside: what the command lines above do.


def _make() -> int:
    try:
        namespaces.unshare(namespaces.NEWUSER)
    except OSError as error:
        print(error.strerror, flush=True)
        return 1
    print("ready", flush=True)
    sys.stdin.read()
    return 0


def _enter(namespace: str, words: Sequence[str]) -> int:
    descriptor = int(namespace)
    namespaces.enter(descriptor, namespaces.NEWUSER)
    os.set_inheritable(descriptor, words[: len(_SELF)] == list(_SELF))
    os.execvp(words[0], list(words))


def _read(root: str) -> int:
    try:
        contents = read_contents(Path(root))
    except ManorError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(b"%d\n" % contents.set_id)
    sys.stdout.buffer.write(contents.index.to_bytes())
    return 0


def _outside(path: str, arguments: Sequence[str]) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(path)
        socket.send_fds(connection, [json.dumps(list(arguments)).encode()], [0, 1, 2])
        for descriptor in (0, 1):  # else the real one's end of the pipes would not be their end
            os.close(descriptor)
        answer = connection.recv(16)
    return int(answer) & 0xFF if answer else 255


def main(argv: Sequence[str]) -> int:
    role, *rest = argv
    if role == "make":
        return _make()
    if role == "enter":
        return _enter(rest[0], rest[1:])
    if role == "read":
        return _read(rest[0])
    assert role == "outside", role
    return _outside(rest[0], rest[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
