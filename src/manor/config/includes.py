"""`!*Include`, `!*IncludeSeq`, `!*IncludeMap`: other files' content in the place of a tag.

Each file is read and composed once per document; a second mention is the same node again. Nesting, the bytes of all
files together and the nodes of all of them together are bounded.
"""

from __future__ import annotations

import os
from pathlib import Path

from manor.config import globs
from manor.config.compose import compose
from manor.config.dialect import INCLUDE_DEPTH_MAX, Dialect
from manor.config.errors import shortened
from manor.config.files import read_at_most
from manor.config.nodes import Broken, Mapping, Node, Scalar, Sequence
from manor.config.report import Budget, Report, Stop


class IncludedFiles:
    """All files included by one document, however deep. One object; `_inside` is the way to the present file."""

    def __init__(
        self, file: str, root: Path, dialect: Dialect, report: Report, *, main: Path | None, bytes_left: int
    ) -> None:
        self.files: list[Path] = []  # read or looked for
        self.directories: list[Path] = []
        self._dialect = dialect
        self._report = report
        self._bytes_left = bytes_left
        self._known: dict[Path, Node] = {}
        self._inside: list[tuple[str, Path]] = [(file, root)]  # as shown, and the directory it stands in
        self._being_read: list[Path] = [root / os.path.basename(file) if main is None else main]

    def include(self, at: Scalar, budget: Budget) -> Node:
        wrong = globs.check_relative(at.text)
        if wrong is not None:
            return self._broken(at, f"`{at.tag}`: {shortened(wrong, 200)}")
        if at.tag == "!*Include":
            return self._file(at, at.text, budget)
        try:
            found, listed = globs.find(self._inside[-1][1], at.text)
        except ValueError as error:
            return self._broken(at, f"`{at.tag}`: {shortened(str(error), 200)}")
        except OSError as error:
            return self._broken(at, f"`{at.tag}`: cannot list `{shortened(str(error.filename))}`: {error.strerror}")
        self.directories += listed
        return self._sequence(at, found, budget) if at.tag == "!*IncludeSeq" else self._mapping(at, found, budget)

    def _sequence(self, at: Scalar, found: list[tuple[str, str | None]], budget: Budget) -> Node:
        if "(" in at.text:
            return self._broken(at, "`!*IncludeSeq` makes a list without names; take the parentheses out")
        items = [self._file(at, name, budget) for name, _ in found]
        sequence = Sequence(at.file, at.line, at.column, None, items)
        return self._measured(sequence, items, len(items), budget)

    def _mapping(self, at: Scalar, found: list[tuple[str, str | None]], budget: Budget) -> Node:
        if "(" not in at.text:
            return self._broken(at, "`!*IncludeMap` takes its keys from parentheses; write such as `dir/(*).yaml`")
        mapping = Mapping(at.file, at.line, at.column, None, [])
        names: dict[str, str] = {}
        for name, captured in found:
            key = captured or ""
            if key in names:
                what = f"`!*IncludeMap`: `{names[key]}` and `{name}` both give the key `{key}`; rename one of them"
                return self._broken(at, what)
            names[key] = name
            mapping.entries.append(
                (Scalar(at.file, at.line, at.column, None, key, False), self._file(at, name, budget))
            )
        mapping.own = len(mapping.entries)
        return self._measured(mapping, [value for _, value in mapping.entries], 2 * mapping.own, budget)

    def _measured(self, node: Sequence | Mapping, children: list[Node], own: int, budget: Budget) -> Node:
        node.size = 1 + own + sum(child.size for child in children)
        node.height = 1 + max((child.height for child in children), default=0)
        budget.spend(own, node.at, self._report)
        return node

    def _file(self, at: Scalar, name: str, budget: Budget) -> Node:
        shown, directory = self._inside[-1]
        path = Path(os.path.normpath(directory / name))
        known = self._known.get(path)
        if known is not None:
            budget.spend(known.size, at.at, self._report)
            return known
        if path in self._being_read:
            return self._broken(at, f"`{shortened(name)}` is being included already; files cannot include each other")
        if len(self._inside) > INCLUDE_DEPTH_MAX:
            raise self._report.stop(at.at, f"includes nested deeper than {INCLUDE_DEPTH_MAX}; include fewer from files")
        text = self._read(at, name, path)
        if text is None:
            return Broken(at.file, at.line, at.column, None)
        file = os.path.normpath(os.path.join(os.path.dirname(shown), name))
        self._inside.append((file, path.parent))
        self._being_read.append(path)
        node = self._composed(text, file, at, budget)
        self._being_read.pop()
        self._inside.pop()
        self._known[path] = node
        return node

    def _read(self, at: Scalar, name: str, path: Path) -> bytes | None:
        self.files.append(path)
        try:
            text = read_at_most(path, self._bytes_left + 1)
        except OSError as error:
            self._broken(
                at, f"cannot include `{shortened(name)}`: {error.strerror}; check the path, it is relative to this file"
            )
            return None
        self._bytes_left -= len(text)
        if self._bytes_left < 0:
            most = self._dialect.bytes_max // (1024 * 1024)
            raise self._report.stop(
                at.at,
                f"all files together are larger than {most} MiB; include less",
                kind="Decode Error",
                code="TooLarge",
            )
        return text

    def _composed(self, text: bytes, file: str, at: Scalar, budget: Budget) -> Node:
        """A file that is no YAML is one problem, with its own position; a bound that is crossed ends everything."""
        try:
            return compose(text, file, self._dialect, self._report, budget, self)
        except Stop as stop:
            if stop.problem.code == "TooLarge":
                raise
            self._report.add(stop.problem)
            return Broken(at.file, at.line, at.column, None)

    def _broken(self, at: Node, text: str) -> Node:
        self._report.error(at.at, text)
        return Broken(at.file, at.line, at.column, None)
