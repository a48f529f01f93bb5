"""The built-in commands. To add one: write its file, and name it here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from manor.vagga.session import Session

BuiltIn = Callable[["Session", Sequence[str]], int]

BUILT_IN: Final = {
    "_base_dir": "print the project's root directory",
    "_build": "build containers",
    "_check_overlayfs_support": "say if layers can be overlay mounts here",
    "_clean": "remove images, layers and leftovers",
    "_dump_config": "print the merged configuration as JSON",
    "_help": "explain a command",
    "_list": "list commands or containers",
    "_pack_image": "write an image as an archive",
    "_relative_work_dir": "print the current directory relative to the project's root",
    "_run": "run a program in a container",
    "_version_hash": "print the version of a container",
}


def find_built_in(name: str) -> BuiltIn:
    """The function behind a built-in command: `run` of the module of that name."""
    module = importlib.import_module(f"manor.vagga.commands.{name.lstrip('_')}")
    return cast(BuiltIn, module.run)
