"""`token`: who may ask and act; the file is the same on all nodes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from manor.config.dialect import VERWALTER
from manor.config.loader import Document, load
from manor.config.units import parse_duration
from manor.trust.errors import TokensFileError
from manor.trust.private_file import read_private_file
from manor.trust.tokens import TOKENS_FILE, TokenEntry, make_token
from manor.verwalter.ctl.errors import BadUsage, CtlFailed, NotFound
from manor.verwalter.ctl.session import Session
from manor.verwalter.ctl.tables import joined, print_table

ROLES = ("viewer", "operator", "deployer", "admin")
FILE_BYTES_MAX = 1024 * 1024
Entries = Document[tuple[TokenEntry, ...]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", required=True, metavar="create|list|revoke")
    create = what.add_parser("create", help="print a new token, and add its hash to the file")
    create.add_argument("name", metavar="NAME")
    create.add_argument("--role", required=True, choices=ROLES)
    create.add_argument("--ttl", type=parse_duration, metavar="D", help="how long it is good, such as 30d; for ever")
    create.add_argument("--roles-allowed", action="append", default=[], metavar="PATTERN", help="of an operator")
    listing = what.add_parser("list", help="names, roles, ends")
    revoke = what.add_parser("revoke", help="remove all tokens of a name from the file")
    revoke.add_argument("name", metavar="NAME")
    for one in (create, listing, revoke):
        one.add_argument("--tokens-file", type=Path, default=TOKENS_FILE, metavar="F", help=str(TOKENS_FILE))


def run(arguments: argparse.Namespace, session: Session) -> int:
    match arguments.what:
        case "create":
            _create(arguments, session)
        case "list":
            _list(arguments.tokens_file, session)
        case _:
            _revoke(arguments.tokens_file, arguments.name)
    return 0


def _create(arguments: argparse.Namespace, session: Session) -> None:
    file: Path = arguments.tokens_file
    text = _read(file) if file.exists() else ""
    allowed = tuple(arguments.roles_allowed)
    token, entry = make_token(arguments.name, arguments.role, arguments.ttl, roles_allowed=allowed)
    together = "".join([text, "" if not text or text.endswith("\n") else "\n", entry])
    if len(_parse(together, str(file)).value) != (len(_parse(text, str(file)).value) if text.strip() else 0) + 1:
        raise CtlFailed(
            f"{file}:1:1: is no list with an entry a line, nothing can be added; write `- {{name: …}}` lines"
        )
    _write(file, together)
    if session.json:
        session.print_json({"name": arguments.name, "role": arguments.role, "token": token})
    else:
        print(token)
    print(f"added to {file}; the same file belongs on every node", file=sys.stderr)


def _list(file: Path, session: Session) -> None:
    entries = _parse(_read(file), str(file)).value
    if session.json:
        session.print_json(
            [{"name": one.name, "role": one.role, "expires": one.expires, "roles-allowed": one.roles_allowed}
             for one in entries]
        )  # fmt: skip
        return
    rows = [(one.name, one.role, one.expires or "never", joined(one.roles_allowed)) for one in entries]
    print_table(("NAME", "ROLE", "EXPIRES", "ROLES ALLOWED"), rows)


def _revoke(file: Path, name: str) -> None:
    text = _read(file)
    before = _parse(text, str(file))
    if all(one.name != name for one in before.value):
        raise NotFound(f"{file}: no token of `{name}`; there are {joined(sorted({one.name for one in before.value}))}")
    remaining = without(text, before, name)
    kept = tuple(one for one in before.value if one.name != name)
    if (_parse(remaining, str(file)).value if remaining.strip() else ()) != kept:
        raise CtlFailed(f"{file}:1:1: has not an entry a line, nothing is removed; take `{name}` out by hand")
    _write(file, remaining)
    print(f"removed from {file}; the same file belongs on every node", file=sys.stderr)


def without(text: str, entries: Entries, name: str) -> str:
    """The text without the lines of a name's entries; an entry reaches down to the next one."""
    lines = text.splitlines(keepends=True)
    starts = [entries.at(number).line - 1 for number in range(len(entries.value))]
    ends = [*starts[1:], len(lines)]
    gone = {
        line
        for one, start, end in zip(entries.value, starts, ends, strict=True)
        if one.name == name
        for line in range(start, end)
    }
    return "".join(line for number, line in enumerate(lines) if number not in gone)


def _read(file: Path) -> str:
    return read_private_file(file, bytes_max=FILE_BYTES_MAX, refused=TokensFileError).decode()


def _parse(text: str, file: str) -> Entries:
    return load(text.encode(), file, tuple[TokenEntry, ...], VERWALTER)


def _write(file: Path, text: str) -> None:
    """Whole or not at all, and never readable by others."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.rename(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadUsage(f"{file}: {error.strerror}") from error
