"""What a step is: a struct that says what it is made of (`fingerprint`) and does it (`build`).

A step with `layer = True` changes files, which are caught and kept; one with `layer = False` changes only the state
that is handed on, and is repeated from the configuration each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from manor.vagga.hasher import Hasher

if TYPE_CHECKING:
    from manor.vagga.guest import Guest
    from manor.vagga.versioned import VersionedFiles


class Inputs(Protocol):
    """What a version can depend on besides the words of the configuration."""

    @property
    def files(self) -> VersionedFiles:
        """The files of the project."""
        ...

    def version(self, container: str) -> str:
        """The version hash of another container; UnknownVersion when it cannot be known yet."""
        ...


@runtime_checkable
class Step(Protocol):
    """One item of `setup:`."""

    layer: ClassVar[bool]

    def fingerprint(self, into: Hasher, inputs: Inputs) -> None:
        """Everything that changes the result, nothing else. UnknownVersion: it cannot be known before the build."""
        ...

    def build(self, guest: Guest) -> None:
        """Do it. Runs inside the namespaces of the build."""
        ...

    @property
    def title(self) -> str:
        """The step in a few words: its name and first option."""
        ...


def name_of(step: Step) -> str:
    """The tag without `!`."""
    return type(step).__name__


def titled(step: Step, words: str) -> str:
    """`Sh make install`: one line of bounded length."""
    line = " ".join(words.split())
    return f"{name_of(step)} {line if len(line) <= 60 else line[:59] + '…'}".rstrip()
