"""Rules for paths in vagga.yaml."""

from __future__ import annotations

from typing import Annotated, Final

from manor.config.units import Check


def _inside(value: str) -> str | None:
    if not value.startswith("/"):
        return f"the path `{value}` is relative; write it from the root of the container, beginning with `/`"
    if ".." in value.split("/"):
        return f"the path `{value}` holds `..`; write where it leads"
    if "\0" in value:
        return "the path holds a NUL character; take it out"
    return None


def _in_project(value: str) -> str | None:
    if value.startswith("/"):
        return f"the path `{value}` is absolute; write it relative to the project"
    if ".." in value.split("/"):
        return f"the path `{value}` holds `..`; files outside of the project cannot be versioned"
    if not value or "\0" in value:
        return "the path is empty; name a file of the project"
    return None


InsidePath = Annotated[str, Check(_inside)]
"""Absolute, as a process in the container sees it, without `..`."""
ProjectPath = Annotated[str, Check(_in_project)]
"""Relative to the project, without `..`."""

WORK: Final = "/work"


def below_work(path: str) -> str | None:
    """The path relative to the project if it lies in /work (`.` for /work itself), else None."""
    words = [word for word in path.split("/") if word and word != "."]
    if words[:1] != ["work"]:
        return None
    return "/".join(words[1:]) or "."


def normal(path: str) -> str:
    """An absolute path without double slashes, `.` and a slash at its end."""
    return "/" + "/".join(word for word in path.split("/") if word and word != ".")
