"""What the host's apt knows of the way to its mirrors: proxies, and checks of dates that its clock cannot pass."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Final

_LINE: Final = re.compile(r'(Acquire(?:::[A-Za-z0-9-]+)+) "([^"]*)";')
_TAKEN: Final = re.compile(r"Acquire::(https?::Proxy|Check-Date|Check-Valid-Until|Retries|https::CaInfo)")
TIMEOUT_S: Final = 10.0


def transport_options() -> list[str]:
    """`Acquire::http::Proxy "…"` and the like, as lines of apt's configuration; empty where there is no apt."""
    program = shutil.which("apt-config")
    if program is None:
        return []
    result = subprocess.run(
        [program, "dump"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=False,
    )
    return parse_dump(result.stdout.decode(errors="replace"))


def parse_dump(text: str) -> list[str]:
    """The options of `apt-config dump` that are about transport."""
    return [
        f'{found[1]} "{found[2]}";'
        for line in text.splitlines()
        if (found := _LINE.fullmatch(line)) and _TAKEN.fullmatch(found[1])
    ]
