"""`_dump_config`: the merged configuration as JSON, with the file everything comes from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from manor.vagga.commands.options import Options
from manor.vagga.session import Session


def run(session: Session, words: Sequence[str]) -> int:
    options = Options("_dump_config", "Print the merged configuration as JSON.")
    options.add_argument("--pretty", action="store_true", help="with line breaks")
    chosen = options.parse_args(list(words))
    merged = session.merged
    data = {"containers": dict(session.containers), "commands": merged.commands, "sources": merged.origins}
    text = msgspec.json.encode(data)
    print((msgspec.json.format(text) if chosen.pretty else text).decode())
    return 0
