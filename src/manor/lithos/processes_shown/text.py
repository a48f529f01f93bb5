"""The tree and the table of lithos_ps, and their small words: sizes, uptimes, colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, TypeVar

from manor.lithos.processes_shown.scan import TICKS_PER_S, Shown, Tree, Usage

T = TypeVar("T")

GREEN, RED, BLUE, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[34m", "\x1b[0m"
YOUNG_S: Final = 30
UNITS: Final = (("GiB", 2**30), ("MiB", 2**20), ("kiB", 2**10))


class Paint:
    """Colour where it is wanted."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, colour: str, text: object) -> str:
        return f"{colour}{text}{PLAIN}" if self._on else str(text)


def tree_lines(tree: Tree, paint: Paint, now: float) -> Iterator[str]:
    """One master: sandboxes, entries, instances."""
    pid = paint(RED, "(down)") if tree.pid is None else paint(GREEN, tree.pid)
    yield f"{pid} tree {tree.config} {_sums(tree.instances, paint)}"
    sandboxes = [(name, list(group)) for name, group in groupby(tree.instances, lambda one: one.name.sandbox)]
    for is_last, (sandbox, instances) in _with_last(sandboxes):
        yield f"  {_branch(is_last)}{sandbox} {_sums(instances, paint)}"
        below = f"  {_stem(is_last)}"
        entries = [list(group) for _, group in groupby(instances, lambda one: one.name.process)]
        for is_last_entry, members in _with_last(entries):
            if [one.name.index for one in members] == [0] or members[0].name.is_command:
                for one in members:
                    yield f"{below}{_branch(is_last_entry)}{_instance(one, paint, now)}"
                continue
            yield f"{below}{_branch(is_last_entry)}{members[0].name.process} {_sums(members, paint)}"
            for is_last_member, one in _with_last(members):
                yield f"{below}{_stem(is_last_entry)}{_branch(is_last_member)}{_instance(one, paint, now)}"


def _branch(is_last: bool) -> str:
    return "└─" if is_last else "├─"


def _stem(is_last: bool) -> str:
    return "    " if is_last else "│   "


def _with_last(items: Sequence[T]) -> Iterator[tuple[bool, T]]:
    for index, item in enumerate(items):
        yield index == len(items) - 1, item


def _instance(one: Shown, paint: Paint, now: float) -> str:
    if not one.heads:
        return f"({paint(RED, one.init_pid)}) {one.name} {paint(RED, '<failing>')}"
    if not one.ok:
        return f"({paint(GREEN, one.init_pid)}) {one.name} <{len(one.heads)}> {_figures(one.heads, paint)}"
    head = one.heads[0]
    age_s = max(0, int(now - head.start_time))
    age = paint(RED, uptime(age_s)) if age_s < YOUNG_S else uptime(age_s)
    return f"{paint(GREEN, head.pid)} {one.name} {age} {_figures(one.heads, paint)}"


def _sums(instances: Iterable[Shown], paint: Paint) -> str:
    return _figures([head for one in instances for head in one.heads], paint)


def _figures(heads: Sequence[Usage], paint: Paint) -> str:
    processes, threads = sum(head.processes for head in heads), sum(head.threads for head in heads)
    return paint(BLUE, f"[{processes}/{threads}]") + " " + paint(BLUE, size(sum(h.mem_rss + h.mem_swap for h in heads)))


def size(number: int) -> str:
    for unit, factor in UNITS:
        if number >= factor:
            return f"{number / factor:.1f}{unit}"
    return f"{number}B"


def uptime(seconds: int) -> str:
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 60:
        return f"{seconds}s"
    if minutes < 60:
        return f"{minutes}m{seconds % 60}s"
    if hours < 24:
        return f"{hours}h{minutes % 60}m{seconds % 60}s"
    if days < 3:
        return f"{days}d{hours % 24}h{minutes % 60}m"
    return f"{days}days"


def json_document(trees: Iterable[Tree]) -> dict[str, object]:
    """For programs. `pid` of a child is that of its init, `main_pid` the one of its main process."""
    return {
        "trees": [
            {"pid": tree.pid, "config": tree.config, "children": [_child(one) for one in tree.instances]}
            for tree in trees
        ]
    }


def _child(one: Shown) -> dict[str, object]:
    processes = [{name: getattr(head, name) for name in Usage.__dataclass_fields__} for head in one.heads]
    return {
        "name": str(one.name),
        "pid": one.init_pid,
        "main_pid": one.main_pid,
        "ok": one.ok,
        "state": one.state,
        "processes": processes,
    }


def table(trees: Iterable[Tree], earlier: Mapping[int, int], passed_s: float) -> tuple[list[str], dict[int, int]]:
    """The lines of --monitor, and the ticks per init to be given next time. CPU is percent of one core since then."""
    instances = sorted((one for tree in trees for one in tree.instances), key=lambda one: str(one.name))
    ticks = {one.init_pid: sum(h.user_time + h.system_time for h in one.heads) for one in instances}
    unit, factor = _common_unit(instances)
    width = max([4, *(len(str(one.name)) for one in instances)])
    lines = [f"{'PID':>8} {'NAME':<{width}} {'CPU':>6} {'THR':>5} {'PRC':>5} {'MEM(' + unit + ')':>10}"]
    for one in instances:
        used = ticks[one.init_pid] - earlier.get(one.init_pid, ticks[one.init_pid])
        cpu = 100 * used / TICKS_PER_S / passed_s if passed_s > 0 else 0.0
        pid = one.heads[0].pid if one.ok else 0
        threads, processes = sum(h.threads for h in one.heads), sum(h.processes for h in one.heads)
        memory = sum(h.mem_rss + h.mem_swap for h in one.heads) / factor
        lines.append(f"{pid:>8} {one.name!s:<{width}} {cpu:>6.1f} {threads:>5} {processes:>5} {memory:>10.1f}")
    return lines, ticks


def _common_unit(instances: Iterable[Shown]) -> tuple[str, int]:
    largest = max((sum(h.mem_rss + h.mem_swap for h in one.heads) for one in instances), default=0)
    return next(((unit, factor) for unit, factor in UNITS if largest >= factor), ("B", 1))
