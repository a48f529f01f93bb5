"""How the four tools' files differ: one frozen row of switches each, compared in one visible table."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

DEPTH_MAX: Final = 64  # nested collections, aliases and includes expanded
NODES_MAX: Final = 1_000_000  # after expansion of aliases: what a reader may have to walk
INCLUDE_DEPTH_MAX: Final = 32
MIB: Final = 1024 * 1024


class BareMode(enum.Enum):
    """What a file mode written in plain digits (`755`, `0755`) means."""

    DECIMAL = "decimal"  # and a warning when it looks octal
    REFUSED = "refused"  # when it begins with a zero; decimal else
    OCTAL = "octal"


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """The switches of one tool's files."""

    tool: str
    duplicate_is_error: bool = True  # else a warning, and the first holds
    underscored_ignored: bool = False  # options that begin with `_`, with all they hold
    merges: bool = False  # `<<`
    unpacks: bool = False  # `!*Unpack`
    includes: bool = False  # `!*Include`, `!*IncludeSeq`, `!*IncludeMap`
    bare_mode: BareMode = BareMode.REFUSED
    bare_seconds: bool = False  # a duration without unit
    core_schema: bool = False  # free values have the types of YAML 1.2's core schema; else they are text
    plain_data: bool = False  # no options at all: `<<` is a key and `!*Include` a tag like any other
    bytes_max: int = MIB  # of all files together
    problems_max: int = 1000  # what nobody would read to its end
    kinds: bool = False  # `Parse Error: ` and the like before the text
    unknown_together: bool = False  # all unknown options of one mapping in one problem


LITHOS: Final = Dialect(
    tool="lithos",
    underscored_ignored=True,
    merges=True,
    unpacks=True,
    bare_mode=BareMode.DECIMAL,
    bare_seconds=True,
    kinds=True,
    unknown_together=True,
)
VAGGA: Final = Dialect(
    tool="vagga",
    duplicate_is_error=False,
    underscored_ignored=True,
    merges=True,
    unpacks=True,
    includes=True,
    bytes_max=16 * MIB,
    problems_max=20,
)
CANTAL: Final = Dialect(tool="cantal", bare_seconds=True)
VERWALTER: Final = Dialect(tool="verwalter", merges=True, bare_mode=BareMode.OCTAL, core_schema=True)
TREE: Final = Dialect(
    tool="metadata", core_schema=True, plain_data=True, bytes_max=16 * MIB
)  # verwalter's runtime/ and machine/
