"""The smallest image in which something runs: one static program under a few names."""

from __future__ import annotations

import shutil
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
NAMES = ("sh", "true", "sleep", "date")


def make_rootfs(root: Path) -> Path:
    for directory in ("bin", "dev", "proc", "sys", "tmp", "etc", "config", "data", "work"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    for name in NAMES:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    return root
