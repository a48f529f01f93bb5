"""Where the agent's log lines go, and which: `CANTAL_LOG`, else `MANOR_LOG`, such as `info` or `warn,gossip=debug`."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Final

LEVELS: Final[Mapping[str, int]] = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}
COLOURS: Final[Mapping[int, str]] = {logging.ERROR: "31", logging.WARNING: "33", logging.DEBUG: "2"}


class _Text(logging.Formatter):
    def __init__(self, *, coloured: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        colour = COLOURS.get(record.levelno) if self._coloured else None
        return f"\x1b[{colour}m{line}\x1b[0m" if colour else line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "module": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


def configure(environ: Mapping[str, str], log_format: str) -> None:
    """Lines to standard error. A word that is no level is told and passed over."""
    handler = logging.StreamHandler(sys.stderr)
    style = environ.get("CANTAL_LOG_STYLE", "auto")
    coloured = style == "always" or (style != "never" and sys.stderr.isatty())
    formatter: logging.Formatter = _Json() if log_format == "json" else _Text(coloured=coloured)
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    for word in (environ.get("CANTAL_LOG") or environ.get("MANOR_LOG") or "info").split(","):
        module, equals, level = word.strip().rpartition("=")
        if level.lower() not in LEVELS:
            logging.warning("log.unknown_level word=%s: one of %s would be right", word, ", ".join(LEVELS))
        elif equals:
            name = module.replace("::", ".").removeprefix("manor.").removeprefix("cantal.")
            logging.getLogger(f"manor.cantal.{name}").setLevel(LEVELS[level.lower()])
        else:
            root.setLevel(LEVELS[level.lower()])
