"""`.j2` templates: Jinja2 in its sandbox, where an undefined name is an error and nothing reaches outside."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
import yaml

from manor.config.errors import ManorError

OUTPUT_BYTES_MAX = 16 << 20
LATER_ENGINES = (".tera", ".hbs", ".handlebars", ".trm", ".trimmer")


class TemplateFailed(ManorError):
    """site/v1/processes.yaml.j2:7: 'database' is undefined; ..."""

    exit_status = 10


class _Fail(Exception):
    pass


class Templates:
    """The templates of one directory; all are parsed when this is made.

    Raises:
        TemplateFailed: with the file and line.
    """

    def __init__(self, directory: Path) -> None:
        self._environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            loader=jinja2.FileSystemLoader(directory),
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            to_json=_to_json,
            to_yaml=lambda value: yaml.safe_dump(
                value, default_flow_style=True, allow_unicode=True, width=2**31
            ).strip(),
            shell_quote=lambda value: shlex.quote(str(value)),
            nginx_quote=_nginx_quote,
            sha256=lambda value: hashlib.sha256(str(value).encode()).hexdigest(),
            b64encode=lambda value: base64.b64encode(str(value).encode()).decode(),
            validate=_validate,
            sorted_items=lambda value: sorted(value.items()),
        )
        self._environment.globals["fail"] = _fail
        self._directory = directory
        for path in sorted(directory.rglob("*")):
            name = str(path.relative_to(directory))
            if any(part.startswith((".", "#")) or part.endswith("~") for part in Path(name).parts):
                continue
            if path.suffix in LATER_ENGINES:
                raise TemplateFailed(f"{path}:1: `{path.suffix}` templates are not supported yet; use `.j2`")
            if path.suffix == ".j2" and path.is_file():
                if not path.resolve().is_relative_to(directory.resolve()):
                    raise TemplateFailed(f"{path}:1: a link that leaves the template directory; copy the file")
                self._get(name)

    def _get(self, name: str) -> jinja2.Template:
        try:
            return self._environment.get_template(name)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateFailed(f"{self._directory / (error.name or name)}:{error.lineno}: {error.message}") from error
        except jinja2.TemplateNotFound as error:
            raise TemplateFailed(f"{self._directory / name}:1: there is no template `{error.name}`") from error
        except UnicodeDecodeError as error:
            raise TemplateFailed(f"{self._directory / name}:1: not UTF-8") from error

    def render(self, name: str, variables: Mapping[str, Any]) -> str:
        """The text of one template.

        Args:
            name: its path in the directory.
        """
        if not name.endswith(".j2"):
            raise TemplateFailed(f"{self._directory / name}:1: no template by its name; templates end in `.j2`")
        template = self._get(name)
        size = 0
        pieces = []
        try:
            for piece in template.generate(**variables):
                size += len(piece)
                if size > OUTPUT_BYTES_MAX:
                    raise _Fail(f"more than {OUTPUT_BYTES_MAX >> 20} MiB of output")
                pieces.append(piece)
        except (
            jinja2.TemplateError,
            _Fail,
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            OverflowError,
        ) as error:
            raise TemplateFailed(f"{self._directory / name}:{_line(error, self._directory)}: {error}") from error
        return "".join(pieces)


def _line(error: BaseException, directory: Path) -> int:
    """The line of the template that was being rendered: the innermost frame whose file is one of ours."""
    line = 1
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename.startswith(str(directory)):
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _nginx_quote(value: object) -> str:
    text = str(value)
    if "\n" in text or "\0" in text:
        raise _Fail(f"{text!r} cannot be written into nginx's configuration")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "${dollar}") + '"'


def _validate(value: object, regex: str) -> object:
    if not re.fullmatch(regex, str(value)):
        raise _Fail(f"{value!r} does not match {regex!r}")
    return value


def _fail(text: str) -> None:
    raise _Fail(text)
