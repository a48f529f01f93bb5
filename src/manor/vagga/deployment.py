"""Is an image fit to be run by lithos? Warnings for containers called `deploy` or `deploy-…`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def deployment_warnings(root: Path) -> Iterator[str]:
    """What an administrator would stumble over later."""
    if not list((root / "config").glob("*.yaml")):
        yield "no /config/*.yaml in the image; lithos reads how to run it there"
