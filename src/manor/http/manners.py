"""Where the two agents' interfaces differ, because programs in the field rely on each as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from manor.http.errors import HttpProblem
from manor.http.formats import Format
from manor.http.routes import Suffixes


@dataclass(frozen=True, slots=True)
class Manners:
    formats: tuple[Format, ...]
    other_suffixes: Suffixes
    needs_json_type: bool  # a body of another content type is 415
    says_ok: bool  # errors are `{"ok": false, "error"}`; else `{"error", "code"}`, and a page for browsers

    def document(self, problem: HttpProblem) -> dict[str, Any]:
        """The error as the agent's clients know it."""
        if self.says_ok:
            return {"ok": False, "error": problem.text, **problem.details}
        return {"error": problem.text, "code": problem.code, **problem.details}


FORGIVING: Final = Manners(
    formats=(Format.JSON, Format.CBOR, Format.GRON),
    other_suffixes=Suffixes.NOT_FOUND,
    needs_json_type=False,
    says_ok=True,
)
STRICT: Final = Manners(
    formats=(Format.JSON, Format.PRETTY, Format.GRON),
    other_suffixes=Suffixes.JSON,
    needs_json_type=True,
    says_ok=False,
)
