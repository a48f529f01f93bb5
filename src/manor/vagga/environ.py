"""The environment of a command. Pure: sources in, variables out; the table of precedence is the order below."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from manor.vagga.errors import SetupError, UsageError

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROXIES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
PREFIX: Final = "VAGGAENV_"


def command_environment(
    *,
    caller: Mapping[str, str],
    home: str,
    environ_file: Mapping[str, str] = {},
    container: Mapping[str, str] = {},
    command: Mapping[str, str] = {},
    propagate: Sequence[str] = (),
    settings: Mapping[str, str] = {},
    use_env: Sequence[str] = (),
    assignments: Sequence[str] = (),
    proxies: bool = True,
) -> dict[str, str]:
    """From the weakest source to the strongest.

    Args:
        propagate: patterns of names of the caller's variables; `*` is any text.
        use_env: names given with `-e`.
        assignments: `NAME=VALUE`, or `NAME` to take a variable away again, given with `-E`.
    Raises:
        UsageError: a name in `use_env` holds `=`.
    """
    variables = {name: caller[name] for name in PROXIES if proxies and name in caller}
    variables |= {"TERM": caller.get("TERM") or "dumb", "PATH": PATH, "HOME": home}
    variables |= environ_file
    variables |= container
    variables |= command
    variables |= {name: value for name, value in caller.items() if _matches(name, propagate)}
    variables |= settings
    removable = {name[len(PREFIX) :]: value for name, value in caller.items() if name.startswith(PREFIX)}
    for name in use_env:
        if "=" in name:
            raise UsageError(f"`-e {name}` takes a name; to set a value write `-E {name}`")
        removable[name] = caller.get(name, "")
    for text in assignments:
        name, given, value = text.partition("=")
        removable.pop(name, None)
        if given:
            removable[name] = value
    return {**variables, **{name: value for name, value in removable.items() if name}}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(".*".join(map(re.escape, p.split("*"))), name, re.DOTALL) for p in patterns)


def parse_environ_file(text: str, file: str) -> dict[str, str]:
    """`NAME=value` lines; blank ones and `#` are skipped, one pair of quotes is taken off a value."""
    variables = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, given, value = line.partition("=")
        if not given or not name.strip():
            raise SetupError(
                f"{file}:{number}:1: no `NAME=value`: `{line.strip()}`; correct the line or comment it out"
            )
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        variables[name.strip()] = value
    return variables


def home_of(passwd: str, uid: int) -> str:
    """The home directory that /etc/passwd gives a user id, else `/`."""
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) >= 6 and fields[2] == str(uid):
            return fields[5] or "/"
    return "/"
