"""`_list`: the commands, or the containers."""

from __future__ import annotations

from collections.abc import Sequence

from manor.vagga import listing
from manor.vagga.commands.options import Options
from manor.vagga.commands.table import BUILT_IN
from manor.vagga.listing import Entry
from manor.vagga.session import Session


def run(session: Session, words: Sequence[str]) -> int:
    options = Options("_list", "List commands.")
    options.add_argument(
        "-A", "--all", "--hidden", dest="hidden", action="store_true", help="also hidden and built-in ones"
    )
    options.add_argument("--builtin", action="store_true", help="only the built-in ones")
    options.add_argument("--containers", action="store_true", help="the names of containers")
    options.add_argument("--no-aliases", action="store_true")
    options.add_argument("-v", "--verbose", action="store_true", help="with the file each comes from")
    options.add_argument("--zsh", action="store_true", help="`name:first line`")
    options.add_argument("--json", action="store_true", help="everything there is to say")
    chosen = options.parse_args(list(words))
    if chosen.containers and not chosen.json:
        for name in sorted(session.containers):
            source = f"  ({session.merged.origins[f'containers.{name}']})" if chosen.verbose else ""
            print(f"{name}{source}")
        return 0
    built_in = [Entry(name=name, description=text, kind="built-in") for name, text in BUILT_IN.items()]
    entries = built_in if chosen.builtin else session.entries() + (built_in if chosen.hidden else [])
    hidden = chosen.hidden or chosen.builtin
    if chosen.json:
        print(_as_json(session, entries))
    elif chosen.zsh:
        print(listing.zsh(entries, hidden=hidden), end="")
    else:
        print(listing.plain(entries, aliases=not chosen.no_aliases, hidden=hidden, verbose=chosen.verbose), end="")
    return 0


def _as_json(session: Session, entries: list[Entry]) -> str:
    import msgspec

    containers = [
        Entry(name=name, source=session.merged.origins[f"containers.{name}"], kind="container")
        for name in session.containers
    ]
    return msgspec.json.format(msgspec.json.encode([*entries, *containers])).decode()
