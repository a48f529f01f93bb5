"""`after` between entries: unknown names and cycles, and who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from manor.lithos.files.processes import ProcessEntry

Entries = Mapping[str, Mapping[str, ProcessEntry]]
"""sandbox -> process name -> entry"""


def full_name(sandbox: str, reference: str) -> str:
    """`NAME` of the same sandbox or `SANDBOX/NAME` -> SANDBOX/NAME."""
    return reference if "/" in reference else f"{sandbox}/{reference}"


def dependencies(entries: Entries) -> dict[str, tuple[str, ...]]:
    """SANDBOX/NAME -> the entries it starts after, for Daemons."""
    return {
        f"{sandbox}/{name}": tuple(full_name(sandbox, reference) for reference in entry.after)
        for sandbox, processes in entries.items()
        for name, entry in processes.items()
        if entry.kind == "Daemon"
    }


def order_problems(entries: Entries) -> Iterator[tuple[str, str, int, str]]:
    """(sandbox, process, index in `after`, what is wrong). A cycle is reported once, at its first entry by name."""
    waits = dependencies(entries)
    reported: set[str] = set()
    for entry in sorted(waits):
        sandbox, _, process = entry.partition("/")
        for index, awaited in enumerate(waits[entry]):
            if awaited not in waits:
                yield (
                    sandbox,
                    process,
                    index,
                    f"`{awaited}` is no Daemon of these files; name one that is, or leave it out",
                )
        cycle = _cycle_through(entry, waits)
        if cycle and not reported & set(cycle):
            reported |= set(cycle)
            index = waits[entry].index(cycle[1])
            yield sandbox, process, index, f"`after` goes in a circle: {' after '.join(cycle)}; break it somewhere"


def _cycle_through(start: str, waits: Mapping[str, Sequence[str]]) -> list[str]:
    """The way from an entry back to itself, both ends included; empty if there is none."""
    stack: list[list[str]] = [[start]]
    seen: set[str] = set()
    while stack:
        path = stack.pop()
        for awaited in sorted(waits.get(path[-1], ())):
            if awaited == start:
                return [*path, start]
            if awaited not in seen:
                seen.add(awaited)
                stack.append([*path, awaited])
    return []
