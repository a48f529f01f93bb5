"""A machine's /etc/verwalter and log directory in a temporary directory, for the tests of rendering."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from manor import VERSION
from manor.verwalter.render.command import main

DEPLOYMENT = "Xq3Xq3Xq3Xq3Xq3Xq3Xq3Xq3"


class RenderNode:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.etc, self.log = place / "etc", place / "log"
        self.templates = self.etc / "templates/app/v1"
        self.templates.mkdir(parents=True)
        (self.etc / "sandbox").mkdir()
        self.out = place / "out"
        self.out.mkdir()

    def template(self, name: str, text: str) -> Path:
        path = self.templates / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def renderer(self, *commands: str, templates: str = "{t: t.j2}", name: str = "a.render.yaml") -> Path:
        lines = "".join(f"- {command}\n" for command in commands)
        return self.template(name, f"templates: {templates}\ncommands:\n{lines}")

    def limits(self, text: str, name: str = "limits.yaml") -> Path:
        path = self.etc / "sandbox" / name
        path.write_text(text)
        return path

    def variables(self, **more: Any) -> dict[str, Any]:
        given = {"role": "app", "template": "app/v1", "node": "alpha", "deployment_id": DEPLOYMENT,
                 "verwalter_version": f"v{VERSION}"} | more  # fmt: skip
        return {name: value for name, value in given.items() if value is not None}

    def render(self, *options: str, **more: Any) -> int:
        """The exit status of verwalter-render; a variable of None is left out."""
        places = ["--config-dir", str(self.etc), "--log-dir", str(self.log)]
        return main([json.dumps(self.variables(**more)), *places, *options])

    @property
    def role_log(self) -> str:
        return (self.log / "app/latest").read_text()
