"""Options of built-in commands by argparse, with vagga's exit status for a wrong one."""

from __future__ import annotations

import argparse
from typing import NoReturn

from manor.vagga.errors import UsageError


class Options(argparse.ArgumentParser):
    """Raises UsageError where argparse would end the program with 2."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(prog=f"vagga {name}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage()}".rstrip())
