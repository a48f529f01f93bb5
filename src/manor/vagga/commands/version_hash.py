"""`_version_hash`: print the version of a container, 128 hex digits or the first 8."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from manor.vagga.commands.options import Options
from manor.vagga.errors import PreparationError
from manor.vagga.session import Session
from manor.vagga.version import SHORT


def run(session: Session, words: Sequence[str]) -> int:
    options = Options("_version_hash", "Print the version of a container; 29 if it cannot be known before the build.")
    options.add_argument("-s", "--short", action="store_true", help="the first 8 digits")
    options.add_argument("--debug-versioning", action="store_true", help="the hashed fields as text, on standard error")
    options.add_argument("--dump-version-data", action="store_true", help="the hashed bytes on standard output instead")
    options.add_argument("name", metavar="NAME")
    chosen = options.parse_args(list(words))
    if chosen.name not in session.containers:
        raise PreparationError(f"container `{chosen.name}` does not exist; `vagga _list --containers` lists them")
    versions = session.images.versions()
    if chosen.debug_versioning or chosen.dump_version_data:
        for link in versions.links(chosen.name):
            if chosen.debug_versioning:
                print(f"{link.number} {link.step.title}", file=sys.stderr)
                for name, value in link.hasher.fields:
                    print(f"    {name}: {value!r}", file=sys.stderr)
            if chosen.dump_version_data:
                sys.stdout.buffer.write(link.hasher.encoded)
    version = versions.version(chosen.name)
    if not chosen.dump_version_data:
        print(version[:SHORT] if chosen.short else version)
    session.images.settle()
    return 0
