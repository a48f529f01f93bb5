"""The options by which `!Copy` and `!Depends` choose files; both structs inherit exactly these."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from manor.vagga.hasher import Field
from manor.vagga.selection import Selection, selection


class Selecting(msgspec.Struct, frozen=True, kw_only=True):
    """By regular expressions, or by rules; not by both."""

    ignore_regex: str | None = None
    include_regex: str | None = None
    rules: tuple[str, ...] | None = None
    no_default_rules: bool = False

    def selection(self) -> Selection:
        """The selection these options describe; checked when the configuration was read."""
        return selection(
            ignore_regex=self.ignore_regex,
            include_regex=self.include_regex,
            rules=self.rules,
            no_default_rules=self.no_default_rules,
        )

    def selection_fields(self) -> Field:
        """For sources whose content is not hashed: the words themselves."""
        return [self.ignore_regex, self.include_regex, self.rules, self.no_default_rules]

    def selection_problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What is wrong with the options, with the option that is to blame."""
        if self.rules is not None and (self.ignore_regex is not None or self.include_regex is not None):
            yield ("rules",), "`rules` cannot stand beside `ignore-regex` or `include-regex`; use one way of selecting"
        elif self.no_default_rules and self.rules is None:
            yield ("no_default_rules",), "`no-default-rules` has no meaning without `rules`; add rules or leave it out"
        else:
            try:
                self.selection()
            except ValueError as error:
                first = (
                    "rules"
                    if self.rules is not None
                    else "include_regex"
                    if "include" in str(error)
                    else "ignore_regex"
                )
                yield (first,), str(error)
