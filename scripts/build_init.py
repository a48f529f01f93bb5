"""Compile manor-init, the static PID 1 of containers, whenever the package is built or installed from source."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "src/manor/container/init.c"
TARGET = "src/manor/container/manor-init"


class CompileInit(BuildHookInterface[Any]):
    """Puts the compiled program beside its source and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        unfinished = root / f"{TARGET}.tmp.{os.getpid()}"
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o", unfinished, root / SOURCE],
            check=True,
        )
        unfinished.rename(root / TARGET)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{platform.machine()}"
        build_data["artifacts"].append(TARGET)
