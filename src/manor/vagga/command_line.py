"""The flags before the command's name. What comes after the name belongs to the command, whatever it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from manor.vagga.errors import UsageError

SWITCHES: Final = {
    "-V": "version", "--version": "version",
    "-h": "help", "--help": "help",
    "-m": "run_multi", "--run-multi": "run_multi",
    "--ignore-owner-check": "ignore_owner_check",
    "--no-prerequisites": "no_prerequisites",
    "--containers-only": "containers_only",
    "--isolate-network": "isolate_network", "--no-network": "isolate_network", "--no-net": "isolate_network",
    "--no-image-download": "no_image_download",
    "--no-build": "no_build",
    "--no-version-check": "no_version_check",
    "--tty": "tty", "--no-tty": "no_tty",
    "-q": "quiet", "-v": "verbose",
}  # fmt: skip
VALUES: Final = {
    "-E": "assignments", "--env": "assignments", "--environ": "assignments",
    "-e": "use_env", "--use-env": "use_env",
    "--progress": "progress",
}  # fmt: skip
PROGRESS: Final = ("auto", "plain", "fancy", "quiet")

USAGE: Final = """\
usage: vagga [FLAG...] COMMAND [ARGUMENT...]
       vagga [FLAG...] -m COMMAND...
       vagga
"""
HELP: Final = """
flags:
  -V, --version             print the version of the format and of manor
  -h, --help                print this text
  -E, --env, --environ NAME=VALUE
                            set a variable; `-E NAME` takes one away
  -e, --use-env NAME        pass on a variable of the caller
  -m, --run-multi           run several commands one after the other
  --ignore-owner-check      let root run commands of a project that belongs to somebody else
  --no-prerequisites        do not run the prerequisites
  --containers-only         build what is needed and run nothing
  --isolate-network, --no-network, --no-net
                            run with nothing but a loopback device
  --no-image-download       never fetch finished images
  --no-build                end with 29 if something would have to be built
  --no-version-check        take the images that are there, whatever the configuration says
  --tty, --no-tty           give the command a terminal of its own, or none
  --progress MODE           auto, plain, fancy or quiet
  -q, -v                    say less, say more

built-in commands:
  _base_dir _build _check_overlayfs_support _clean _dump_config _help _list _pack_image _relative_work_dir _run
  _version_hash
"""


@dataclass(slots=True)
class Flags:
    """What was given before the command's name."""

    switches: set[str] = field(default_factory=set)
    assignments: list[str] = field(default_factory=list)
    use_env: list[str] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)

    def __contains__(self, switch: str) -> bool:
        return switch in self.switches


def parse(words: Sequence[str]) -> tuple[Flags, list[str]]:
    """The flags, and the words from the command's name on. UsageError for an unknown flag or a missing value."""
    flags = Flags()
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, given, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in SWITCHES and not given:
            flags.switches.add(SWITCHES[name])
        elif name in VALUES:
            getattr(flags, VALUES[name]).append(value if given else _next(rest, name))
        elif not word.startswith("--") and len(word) > 2 and word[:2] in VALUES:
            getattr(flags, VALUES[word[:2]]).append(word[2:])
        else:
            raise UsageError(f"unknown flag `{word}`\n{USAGE}".rstrip())
    if flags.progress and flags.progress[-1] == "fancy":
        raise UsageError("`--progress fancy` is not supported yet; write `plain`")
    if flags.progress and flags.progress[-1] not in PROGRESS:
        raise UsageError(f"`--progress {flags.progress[-1]}` is unknown; write one of {', '.join(PROGRESS)}")
    return flags, rest


def _next(rest: list[str], name: str) -> str:
    if not rest:
        raise UsageError(f"`{name}` needs a value\n{USAGE}".rstrip())
    return rest.pop(0)
