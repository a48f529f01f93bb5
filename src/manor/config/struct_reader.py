"""The reader of a struct: options by name, the tag's content, required options, the struct's own rules.

A class tells about itself, by ClassVars:

    content: ClassVar[str] = "path"            the whole node behind the tag is the value of this field: `!Readonly /x`
    content_or_mapping: ClassVar[bool] = True  but a mapping names the fields: `!Debian x`, `!Debian {release: x}`
    aliases: ClassVar = {"work-dir": "workdir"}
    unsupported: ClassVar = ("seccomp",)       options of the format that this version cannot do: an error says so

and by `__problems__`, which yields (path below the struct, "what is wrong; what would be right") for rules between
its fields. A ValueError of `__post_init__` is a problem of the whole struct.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import msgspec.structs

from manor.config.errors import shortened
from manor.config.nodes import Mapping, Node, Scalar, Sequence, option_name, untagged
from manor.config.reading import BAD, Reader, Reading, missing_tag, unknown_tag, wrong
from manor.config.scalar_readers import one_line


class Option:
    """A field of a struct as a file gives it."""

    __slots__ = ("field", "name", "reader", "required")

    def __init__(self, field: str, name: str, reader: Reader, required: bool) -> None:
        self.field = field
        self.name = name
        self.reader = reader
        self.required = required


class StructReader:
    """Reads one class of structs; its hints are resolved when the first value is read."""

    def __init__(self, cls: type[msgspec.Struct], reader_for: Callable[[Any], Reader]) -> None:
        self.cls = cls
        self._reader_for = reader_for
        tag = cls.__struct_config__.tag
        self.tag: str | None = tag if isinstance(tag, str) else None
        self._options: dict[str, Option] | None = None
        self._content: Option | None = None
        self._aliases: dict[str, str] = {}
        self._unsupported: frozenset[str] = frozenset()
        self._takes_mapping = True
        self._checked = hasattr(cls, "__problems__")

    @property
    def options(self) -> dict[str, Option]:
        if self._options is None:
            self._options = self._resolve()
        return self._options

    def _resolve(self) -> dict[str, Option]:
        cls: Any = self.cls
        options = {}
        content_field = content_name(cls)
        for info in msgspec.structs.fields(cls):
            name = option_name(info.encode_name)
            option = Option(info.name, name, self._reader_for(info.type), info.required)
            options[name] = option
            if info.name == content_field:
                self._content = option
        assert content_field is None or self._content is not None, f"{cls.__name__}.content names no field"
        self._takes_mapping = self._content is None or bool(_declared(cls, "content_or_mapping", False))
        self._aliases = option_aliases(cls)
        self._unsupported = frozenset(map(option_name, _declared(cls, "unsupported", ())))
        return options

    def known_keys(self, mapping: Mapping) -> int:
        known = self.options.keys() | self._aliases.keys() | self._unsupported
        return sum(option_name(key.text) in known for key, _ in mapping.entries)

    def __call__(self, node: Node, reading: Reading) -> Any:
        if node.tag is not None:
            if self.tag is None or node.tag != "!" + self.tag:
                return unknown_tag(node, reading, (self.tag,) if self.tag else ())
            node = untagged(node)
        elif self.tag is not None:
            return missing_tag(node, reading, (self.tag,))
        return self.read_untagged(node, reading)

    def read_untagged(self, node: Node, reading: Reading) -> Any:
        options = self.options
        missing = type(node) is Scalar and node.null
        if self._content is not None and not (type(node) is Mapping and self._takes_mapping):
            if missing and not self._content.required:
                return self._made(node, {}, reading)
            value = self._content.reader(node, reading)
            return BAD if value is BAD else self._made(node, {self._content.field: value}, reading)
        if type(node) is Mapping:
            values = self._read_mapping(node, reading)
        elif missing:
            values = {}
        else:
            wanted = "a mapping with the options " + ", ".join(f"`{name}`" for name in sorted(options))
            return wrong(node, reading, wanted if options else "no value")
        absent = [o for o in options.values() if o.required and o.field not in values]
        for option in absent:
            # a required option that is there, but wrong, has its own problem already
            reading.bad(node, f"`{option.name}` is required; add `{option.name}: …`")
        if absent or any(value is BAD for value in values.values()):
            return BAD
        return self._made(node, values, reading)

    def _read_mapping(self, node: Mapping, reading: Reading) -> dict[str, Any]:
        """Field -> value or BAD; `values[""]` is BAD when a key was wrong."""
        options, path = self.options, reading.path
        values: dict[str, Any] = {}
        spelled: dict[str, str] = {}
        unknown: list[Scalar] = []
        for index, (key, child) in enumerate(node.entries):
            text = key.text
            if text[:1] == "_" and reading.dialect.underscored_ignored:
                continue
            name = option_name(text)
            option = options.get(name) or options.get(self._aliases.get(name, ""))
            if option is None:
                if name in self._unsupported:
                    reading.bad(key, f"`{shortened(text)}` is not supported yet; leave it out")
                    values[""] = BAD
                else:
                    unknown.append(key)
                continue
            if option.field in values:
                if index < node.own:
                    reading.bad(key, f"`{text}` and `{spelled[option.field]}` are the same option; keep one of them")
                    values[""] = BAD
                continue  # merged in another spelling: what is written here, or merged first, wins
            spelled[option.field] = text
            path.append(text)
            values[option.field] = option.reader(child, reading)
            path.pop()
        if unknown:
            self._unknown(unknown, reading)
            values[""] = BAD
        return values

    def _unknown(self, keys: list[Scalar], reading: Reading) -> None:
        if reading.dialect.unknown_together:
            names = ", ".join(shortened(key.text) for key in keys[:100])
            advice = reading.advice(option_name(keys[0].text), self.options)
            reading.bad(keys[0], f"unknown keys: {names}; {advice}")
            return
        for key in keys:
            advice = reading.advice(option_name(key.text), self.options)
            reading.bad(key, f"unknown option `{shortened(key.text)}`; {advice}")

    def _made(self, node: Node, values: dict[str, Any], reading: Reading) -> Any:
        try:
            made = self.cls(**values)
        except ValueError as error:
            return reading.bad(node, one_line(error))
        if self._checked:
            good = True
            for path, text in made.__problems__():  # type: ignore[attr-defined]
                good = False
                at = locate(node, made, path)
                reading.report.error(at.at, text, path=(*reading.path, *path))
            if not good:
                return BAD
        return made


def _declared(cls: type[msgspec.Struct], name: str, default: Any) -> Any:
    """A ClassVar that tells this module about the class; a field that happens to have that name is none."""
    return default if name in cls.__struct_fields__ else getattr(cls, name, default)


def content_name(cls: type[msgspec.Struct]) -> str | None:
    """The ClassVar `content`: the field that the tag's whole node is the value of."""
    name = _declared(cls, "content", None)
    return name if isinstance(name, str) else None


def option_aliases(cls: type[msgspec.Struct]) -> dict[str, str]:
    """The ClassVar `aliases`: other names of options -> their names."""
    declared = dict(_declared(cls, "aliases", {}))
    return {option_name(alias): option_name(name) for alias, name in declared.items()}


def locate(node: Node, value: Any, path: Iterable[str | int]) -> Node:
    """The node of an option below this one, by names of options or of fields; the nearest ancestor if unknown."""
    for part in path:
        below: Node | None = None
        inner: Any = None
        if isinstance(value, msgspec.Struct) and isinstance(part, str):
            fields = type(value).__struct_fields__
            names = dict(zip(fields, type(value).__struct_encode_fields__, strict=True))
            by_option = {option_name(name): field for field, name in names.items()}
            field = part if part in names else by_option.get(option_name(part), "")
            inner = getattr(value, field, None)
            wanted = option_name(names.get(field, part))
            if isinstance(node, Mapping):
                also = {alias for alias, name in option_aliases(type(value)).items() if name == wanted}
                below = next((v for k, v in node.entries if option_name(k.text) in {wanted, *also}), None)
            if below is None and field and field == content_name(type(value)):
                below = node
        elif isinstance(node, Mapping):
            text = str(part)
            exact = next((v for k, v in node.entries if k.text == text), None)
            loose = (v for k, v in node.entries if option_name(k.text) == option_name(text))
            below = exact if exact is not None else next(loose, None)
            inner = value.get(part) if isinstance(value, dict) else None
        elif isinstance(node, Sequence) and isinstance(part, int) and 0 <= part < len(node.items):
            below = node.items[part]
            inner = value[part] if isinstance(value, list | tuple) and part < len(value) else None
        if below is None:
            break
        node, value = below, inner
    return node
