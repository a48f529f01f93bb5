"""`.j2` templates: Jinja2 in its sandbox, where an undefined name is an error and nothing reaches outside.

A block tag alone on its line leaves no line behind.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import jinja2
import jinja2.compiler
import jinja2.nodes
import jinja2.sandbox

from manor.verwalter.render.errors import BadTemplate
from manor.verwalter.render.filters import FILTERS, fail
from manor.verwalter.render.template_files import template_files

ENGINE_SUFFIX: Final = ".j2"
LATER_ENGINES: Final = (".tera", ".hbs", ".handlebars", ".trm", ".trimmer")
TEMPLATE_BYTES_MAX: Final = 1 << 20
OUTPUT_BYTES_MAX: Final = 16 << 20
LOOP_STEPS_MAX: Final = 1_000_000
RENDER_S_MAX: Final = 10.0  # of processor time: a busy machine is no mistake of the template
POWER_BITS_MAX: Final = 4096


class LimitReached(Exception):
    pass


class _CountingGenerator(jinja2.compiler.CodeGenerator):
    """Every loop counts its steps."""

    def visit_Template(self, node: jinja2.nodes.Template, frame: jinja2.compiler.Frame | None = None) -> None:
        for loop in list(node.find_all(jinja2.nodes.For)):
            loop.iter = jinja2.nodes.Filter(loop.iter, "counted by the sandbox", [], [], None, None)
        super().visit_Template(node, frame)


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    code_generator_class = _CountingGenerator
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Products and powers whose mere size would exhaust the machine."""
        if operator == "**":
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > POWER_BITS_MAX:
                raise LimitReached(f"a number of more than {POWER_BITS_MAX} bits")
        else:
            for sequence, times in ((left, right), (right, left)):
                if isinstance(times, int) and hasattr(sequence, "__len__") and len(sequence) * times > OUTPUT_BYTES_MAX:
                    raise LimitReached(f"a repetition to more than {OUTPUT_BYTES_MAX >> 20} Mi")
        return super().call_binop(context, operator, left, right)


class Templates:
    """The templates of one directory; all are parsed when this is made.

    Raises:
        BadTemplate: with the file and line.
    """

    def __init__(self, directory: Path, roots: Iterable[Path]) -> None:
        self._directory = directory
        self._sources = dict(_read_sources(directory, roots))
        self._steps = 0
        self._environment = _Environment(
            loader=jinja2.FunctionLoader(self._load),
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            cache_size=-1,
        )
        self._environment.filters.update(FILTERS)
        self._environment.filters["counted by the sandbox"] = self._counted
        self._environment.globals["fail"] = fail
        for name in self._sources:
            self._get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._sources

    def render(self, name: str, variables: Mapping[str, Any]) -> str:
        """The text of one template. Raises BadTemplate.

        Args:
            name: its path in the directory.
        """
        template = self._get(name)
        self._steps = 0
        size, pieces = 0, []
        try:
            with _processor_time_at_most(RENDER_S_MAX):
                for piece in template.generate(**variables):
                    size += len(piece.encode())
                    if size > OUTPUT_BYTES_MAX:
                        raise LimitReached(f"more than {OUTPUT_BYTES_MAX >> 20} MiB of output")
                    pieces.append(piece)
        except jinja2.TemplateNotFound as error:
            raise BadTemplate(f"{self._place(error, name)}: there is no template `{error.name}` here") from error
        except Exception as error:  # a template can make Python raise anything
            text = str(error) or type(error).__name__
            raise BadTemplate(f"{self._place(error, name)}: {text}") from error
        return "".join(pieces)

    def _load(self, name: str) -> tuple[str, str, Callable[[], bool]] | None:
        if name not in self._sources:
            return None
        return self._sources[name], str(self._directory / name), lambda: True

    def _get(self, name: str) -> jinja2.Template:
        try:
            return self._environment.get_template(name)
        except jinja2.TemplateSyntaxError as error:
            raise BadTemplate(f"{self._directory / (error.name or name)}:{error.lineno}:1: {error.message}") from error
        except RecursionError as error:
            raise BadTemplate(f"{self._directory / name}:1:1: nested too deeply") from error

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._steps += 1
            if self._steps > LOOP_STEPS_MAX:
                raise LimitReached(f"more than {LOOP_STEPS_MAX} steps in loops")
            yield item

    def _place(self, error: BaseException, name: str) -> str:
        """Where in the templates it happened: the innermost frame whose file is one of ours. Columns are not known."""
        place = f"{self._directory / name}:1:1"
        known = {str(self._directory / one) for one in self._sources}
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename in known:
                place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}:1"
            trace = trace.tb_next
        return place


def _read_sources(directory: Path, roots: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for name in template_files(directory, roots):
        path = directory / name
        if path.suffix in LATER_ENGINES:
            raise BadTemplate(f"{path}:1:1: `{path.suffix}` templates are not supported yet; use `{ENGINE_SUFFIX}`")
        if path.suffix != ENGINE_SUFFIX:
            continue
        try:
            content = path.read_bytes()
            if len(content) > TEMPLATE_BYTES_MAX:
                raise BadTemplate(f"{path}:1:1: more than {TEMPLATE_BYTES_MAX >> 20} MiB; split it")
            yield name, content.decode()
        except OSError as error:
            raise BadTemplate(f"{path}:1:1: {error.strerror}") from error
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise BadTemplate(f"{path}:{line}:1: not UTF-8; save it as UTF-8") from error


@contextmanager
def _processor_time_at_most(seconds: float) -> Iterator[None]:
    """Raise LimitReached in the middle of whatever takes longer. Only in a program's main thread."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise LimitReached(f"more than {seconds:g} s of work")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
