"""The commands of vagga.yaml: arguments, then images, then sockets, then processes; a failure stops what follows."""

from __future__ import annotations

import difflib
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from manor.vagga.config import CMDLINE, Command, Container
from manor.vagga.errors import PreparationError, UsageError
from manor.vagga.session import Session

ALIASES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Call:
    """A command with the words it gets."""

    name: str
    command: Command
    words: tuple[str, ...]


def run_commands(session: Session, words: Sequence[str]) -> int:
    """Run a command with its arguments, or with `-m` several without; prerequisites before what needs them."""
    if "run_multi" in session.flags:
        _check_names(words)
        wanted: dict[str, tuple[str, ...]] = {find_command(session, word): () for word in words}
    else:
        wanted = {find_command(session, words[0]): tuple(words[1:])}
    helped = next((name for name, arguments in wanted.items() if _asks_for_help(session, name, arguments)), None)
    if helped is not None:
        from manor.vagga.commands.help import describe

        print(describe(session, helped), end="")
        return 0
    calls = [
        Call(
            name, session.merged.commands[name], checked_arguments(session.merged.commands[name], wanted.get(name, ()))
        )
        for name in _order(session, list(wanted))
    ]
    containers = [_container(session, call) for call in calls]
    for name in dict.fromkeys(containers):
        session.images.require(name, session.check)
    if "containers_only" in session.flags:
        return 0
    sockets = [_socket(call) for call in calls]
    for call, sock in zip(calls, sockets, strict=True):
        status = _run_one(session, call, sock)
        if status != 0:
            return status
    return 0


def _check_names(words: Sequence[str]) -> None:
    if not words:
        raise UsageError("`-m` needs the names of commands")
    for word in words:
        if word.startswith(("-", "_")):
            raise UsageError(f"`{word}` cannot stand behind `-m`; name commands of the project, flags come before it")


def find_command(session: Session, word: str) -> str:
    """The command of that name or alias."""
    commands = session.merged.commands
    if word in commands:
        return word
    owners = [name for name, command in commands.items() if word in command.also_called]
    if len(owners) > 1:
        from manor.vagga.errors import ConfigurationError

        raise ConfigurationError(f"the alias `{word}` belongs to `{owners[0]}` and to `{owners[1]}`; take it from one")
    if owners:
        return owners[0]
    from manor.vagga.commands.table import BUILT_IN

    known = [*commands, *(alias for command in commands.values() for alias in command.also_called), *BUILT_IN]
    near = difflib.get_close_matches(word, known, n=ALIASES_SHOWN)
    advice = f"did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else "`vagga` lists the commands"
    raise PreparationError(f"`{word}` is neither a command nor an alias; {advice}")


def _asks_for_help(session: Session, name: str, arguments: Sequence[str]) -> bool:
    return not session.merged.commands[name].takes_arguments and "--help" in arguments


def checked_arguments(command: Command, words: Sequence[str]) -> tuple[str, ...]:
    """The words for the program; UsageError if it takes none."""
    if words and not command.takes_arguments:
        raise UsageError(
            f"Unexpected argument `{words[0]}`; this command takes none (`accepts-arguments: true` lets it)"
        )
    return tuple(words)


def _order(session: Session, named: list[str]) -> list[str]:
    """Depth first, each once; what was named keeps its order and is never inserted before it."""
    commands = session.merged.commands
    order: list[str] = []

    def visit(name: str, needed_by: str) -> None:
        if name not in commands:
            raise PreparationError(
                f"`{needed_by}` has the prerequisite `{name}`, which is no command; correct the name"
            )
        if name in order or name in visited:
            return
        visited.add(name)
        for other in commands[name].prerequisites:
            if other not in named:
                visit(other, name)
        order.append(name)

    visited: set[str] = set()
    for name in named:
        if "no_prerequisites" in session.flags:
            order.append(name)
        else:
            visit(name, name)
    return order


def _container(session: Session, call: Call) -> str:
    name = call.command.container
    if name not in session.containers:
        raise PreparationError(
            f"command `{call.name}` runs in container `{name}`, which does not exist; add it to `containers`"
        )
    return name


def _socket(call: Call) -> socket.socket | None:
    if call.command.pass_tcp_socket is None:
        return None
    from manor.vagga.sockets import listen

    return listen(call.command.pass_tcp_socket)


def program_words(command: Command, container: Container, arguments: Sequence[str]) -> list[str]:
    """Program and arguments: a text is run by the container's shell."""
    if isinstance(command.run, str):
        return [command.run if word == CMDLINE else word for word in container.shell] + list(arguments)
    return [*command.run, *arguments]


def _run_one(session: Session, call: Call, sock: socket.socket | None) -> int:
    from manor.vagga.launching import launch_in

    command = call.command
    container = session.containers[command.container]
    if command.banner:
        print(command.banner, file=sys.stderr, flush=True)
    status = launch_in(
        session,
        command.container,
        program_words(command, container, call.words),
        command=command,
        listening=None if sock is None else sock.fileno(),
    )
    if sock is not None:
        sock.close()
    if status == 0 and command.epilog:
        sys.stderr.write(command.epilog)
        sys.stderr.flush()
    return status
