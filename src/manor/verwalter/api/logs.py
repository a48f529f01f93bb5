"""The deployment logs over HTTP: files as they lie on the disk, in parts where a range is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from manor.http.errors import HttpProblem
from manor.http.message import Request, Response

_DIRECTORIES: Final = {"index": ".index", "global": ".global", "changes": ".changes"}


class LogFiles:
    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir

    def answer(self, request: Request) -> Response:
        if "follow" in request.query or "deployment" in request.query:
            raise HttpProblem(501, "`follow` and `deployment` are not supported yet")
        parts = request.parameters["path"].split("/")
        if any(part in ("", ".", "..") or part.startswith(".") for part in parts):
            raise _missing()
        directory = self._directory(request.parameters["kind"], parts)
        for name in (parts[-1], f"{parts[-1]}.{request.format.value}"):  # the suffix may belong to the file's name
            file = directory / name
            if file.is_file() and file.resolve().is_relative_to(directory.resolve()):
                return Response(file=file, content_type="text/plain; charset=utf-8")
        raise _missing()

    def _directory(self, kind: str, parts: list[str]) -> Path:
        if kind in _DIRECTORIES and len(parts) == 1:
            return self._log_dir / _DIRECTORIES[kind]
        if kind == "role" and len(parts) == 2:
            return self._log_dir / parts[0]
        if kind == "external":
            raise HttpProblem(501, "`external` logs are not supported yet")
        raise _missing()


def _missing() -> HttpProblem:
    return HttpProblem(404, "no such log")
