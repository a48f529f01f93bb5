"""Types -> readers of nodes: how the value of every kind of field is made, and what is said when it cannot be.

Theory of operation. For each type hint a reader is made once and kept: a function `(node, reading) -> value`. A reader
that meets something wrong reports it and returns `BAD`; its parent goes on with the other children, so that one run
shows all problems, and returns `BAD` itself. Structs resolve their hints when the first value of theirs is read: a
tool with eighty build steps pays for the five that a file uses.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin

import msgspec
import msgspec.structs

from manor.config.compose import Report
from manor.config.dialect import Dialect
from manor.config.errors import shortened
from manor.config.nodes import Broken, Mapping, Node, Scalar, Sequence, option_name, untagged
from manor.config.plain_data import core_value
from manor.config.units import (
    Check,
    Length,
    Parse,
    ParseIn,
    Pattern,
    Range,
    UnsupportedTags,
    parse_float,
    parse_int,
)

TAGS_SHOWN_BESIDE_ADVICE: Final = 12  # more would bury the near one
SUGGESTIONS_MAX: Final = 50  # a file of nonsense keys must not cost seconds of comparing words


class _Bad(enum.Enum):
    BAD = 0


BAD: Final = _Bad.BAD


class Reading:
    """One walk over one document: the dialect, the report, and where in the document the walk stands."""

    def __init__(self, dialect: Dialect, report: Report) -> None:
        self.dialect = dialect
        self.report = report
        self.path: list[str | int] = []
        self._suggestions = 0

    def bad(self, node: Node, text: str) -> _Bad:
        if type(node) is not Broken:
            self.report.error(node.at, text, path=tuple(self.path))
        return BAD

    def warn(self, node: Node, text: str) -> None:
        self.report.warning(node.at, text, path=tuple(self.path))

    def advice(self, word: str, known: Iterable[str], mark: str = "") -> str:
        """The nearest of the known words, or all of them."""
        import difflib

        words = sorted(known)
        self._suggestions += 1
        near = difflib.get_close_matches(word[:80], words, n=1) if self._suggestions <= SUGGESTIONS_MAX else []
        if near:
            return f"did you mean `{mark}{near[0]}`?"
        if not words:
            return "none are known here"
        return f"known: {', '.join(f'`{mark}{w}`' for w in words)}"


Reader: TypeAlias = Callable[[Node, Reading], Any]


def found(node: Node) -> str:
    """What stands there, for a message."""
    tag = f"`{shown_tag(node.tag)}` with " if node.tag else ""
    if isinstance(node, Mapping):
        return tag + "a mapping"
    if isinstance(node, Sequence):
        return tag + "a list"
    assert isinstance(node, Scalar)
    return tag + ("nothing" if node.null else f'the text "{shortened(node.text)}"')


def shown_tag(tag: str) -> str:
    """As it is written in the file."""
    prefix = "tag:yaml.org,2002:"
    if tag.startswith(prefix):
        return "!!" + shortened(tag[len(prefix) :])
    return shortened(tag) if tag.startswith("!") else f"!<{shortened(tag)}>"


def wrong(node: Node, reading: Reading, wanted: str) -> _Bad:
    """Not what the option takes: say what was found and what is right."""
    if type(node) is Broken:
        return BAD
    if node.tag is not None:
        return reading.bad(node, f"the tag `{shown_tag(node.tag)}` is not allowed here; write {wanted}")
    if isinstance(node, Scalar) and node.null:
        return reading.bad(node, f"the value is missing; write {wanted}")
    return reading.bad(node, f"found {found(node)}; write {wanted}")


# Readers of scalars


def read_str(node: Node, reading: Reading) -> Any:
    if type(node) is Scalar and node.tag is None and not node.null:
        return node.text
    if type(node) is Scalar and node.tag is None:
        return reading.bad(node, 'the value is missing; write a text, `""` for the empty one')
    return wrong(node, reading, "a text")


def read_bool(node: Node, reading: Reading) -> Any:
    if type(node) is Scalar and node.tag is None:
        if node.text == "true":
            return True
        if node.text == "false":
            return False
        if not node.null:
            return reading.bad(node, f'"{shortened(node.text)}" is neither true nor false; write `true` or `false`')
    return wrong(node, reading, "`true` or `false`")


def scalar_reader(parse: Callable[[str], Any], wanted: str) -> Reader:
    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Scalar or node.tag is not None or node.null:
            return wrong(node, reading, wanted)
        try:
            return parse(node.text)
        except ValueError as error:
            return reading.bad(node, one_line(error))

    return read


def one_line(error: ValueError) -> str:
    return shortened(str(error), 1000)


def parse_in_reader(rule: ParseIn) -> Reader:
    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Scalar or node.tag is not None or node.null:
            return wrong(node, reading, "a value")
        try:
            value = rule.function(node.text, reading.dialect)
        except ValueError as error:
            return reading.bad(node, one_line(error))
        warning = rule.warn(node.text, reading.dialect) if rule.warn else None
        if warning:
            reading.warn(node, warning)
        return value

    return read


def choice_reader(values: dict[str, Any]) -> Reader:
    wanted = "one of " + ", ".join(f"`{text}`" for text in values)

    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Scalar or node.tag is not None or node.null:
            return wrong(node, reading, wanted)
        if node.text in values:
            return values[node.text]
        return reading.bad(node, f'unknown value "{shortened(node.text)}"; {reading.advice(node.text, values)}')

    return read


def read_null(node: Node, reading: Reading) -> Any:
    if type(node) is Scalar and node.tag is None and node.null:
        return None
    return wrong(node, reading, "nothing")


def read_any(node: Node, reading: Reading) -> Any:
    """Plain data: typed by the core schema where the dialect says so, else every scalar a text."""
    problems: list[tuple[Node, str, str]] = []
    value = core_value(node, problems, typed=reading.dialect.core_schema, tags_allowed=not reading.dialect.core_schema)
    for at, text, code in problems:
        reading.report.error(at.at, text, path=tuple(reading.path), code=code)
    return BAD if problems else value


# Readers of collections


def list_reader(item: Reader, build: Callable[[list[Any]], Any]) -> Reader:
    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Sequence or node.tag is not None:
            if type(node) is Scalar and node.tag is None and node.null:
                return build([])
            if type(node) is Scalar and node.tag is None:
                return wrong(node, reading, f"a list such as `[{shortened(node.text, 30)}]`")
            return wrong(node, reading, "a list")
        values, path, good = [], reading.path, True
        for index, child in enumerate(node.items):
            path.append(index)
            value = item(child, reading)
            path.pop()
            if value is BAD:
                good = False
            values.append(value)
        return build(values) if good else BAD

    return read


def fixed_tuple_reader(items: tuple[Reader, ...]) -> Reader:
    wanted = f"a list of {len(items)} items"

    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Sequence or node.tag is not None or len(node.items) != len(items):
            return wrong(node, reading, wanted)
        values = []
        for index, (child, item) in enumerate(zip(node.items, items, strict=True)):
            reading.path.append(index)
            values.append(item(child, reading))
            reading.path.pop()
        return BAD if any(value is BAD for value in values) else tuple(values)

    return read


def dict_reader(key_reader: Reader | None, value_reader: Reader) -> Reader:
    """Free names, taken literally. A None key reader is the common case: any text."""

    def read(node: Node, reading: Reading) -> Any:
        if type(node) is not Mapping or node.tag is not None:
            if type(node) is Scalar and node.tag is None and node.null:
                return {}
            return wrong(node, reading, "a mapping `name: value`")
        values: dict[Any, Any] = {}
        path, good = reading.path, True
        for key_node, child in node.entries:
            path.append(key_node.text)
            key: Any = key_node.text
            if key_reader is not None:
                # a key is there, also when it looks like a missing value
                key = key_reader(Scalar(key_node.file, key_node.line, key_node.column, None, key, False), reading)
            value = value_reader(child, reading)
            if value is BAD or key is BAD:
                good = False
            elif key in values:
                good = False
                reading.bad(
                    key_node, f"`{shortened(key_node.text)}` means a key that was given before; keep one of them"
                )
            else:
                values[key] = value
            path.pop()
        return values if good else BAD

    return read


# Structs


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

    def __init__(self, cls: type[msgspec.Struct]) -> None:
        self.cls = cls
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

    @property
    def content(self) -> Option | None:
        return self._content if self.options is not None else None

    def _resolve(self) -> dict[str, Option]:
        cls: Any = self.cls
        options = {}
        content_field = content_name(cls)
        for info in msgspec.structs.fields(cls):
            name = option_name(info.encode_name)
            option = Option(info.name, name, reader_for(info.type), info.required)
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


def unknown_tag(node: Node, reading: Reading, known: Iterable[str], unsupported: Iterable[str] = ()) -> _Bad:
    assert node.tag is not None
    shown = shown_tag(node.tag)
    if node.tag[1:] in unsupported:
        return reading.bad(node, f"`{shown}` is not supported yet; leave it out")
    names = tuple(known)
    if not names:
        return reading.bad(node, f"the tag `{shown}` is not allowed here; write the value without it")
    every = f"known: {', '.join(f'`!{name}`' for name in sorted(names))}"
    if shown.startswith("!!") or not shown.startswith("!"):
        return reading.bad(node, f"unknown tag `{shown}`; {every}")
    advice = reading.advice(shown[1:], names, "!")
    if advice.startswith("did") and len(names) <= TAGS_SHOWN_BESIDE_ADVICE:
        advice = f"{advice} {every}"
    return reading.bad(node, f"unknown tag `{shown}`; {advice}")


def missing_tag(node: Node, reading: Reading, known: Iterable[str]) -> _Bad:
    if type(node) is Broken:
        return BAD
    return reading.bad(
        node, f"found {found(node)} without a tag; write one of {', '.join(f'`!{n}`' for n in sorted(known))}"
    )


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


# Unions


def union_reader(members: tuple[Any, ...], unsupported: tuple[str, ...]) -> Reader:
    """One type of several, chosen by the look of the node: its tag, its kind, its keys."""
    nullable = type(None) in members
    kinds = [m for m in members if m is not type(None) and m is not msgspec.UnsetType]
    variants: dict[str, StructReader] = {}
    structs: list[StructReader] = []
    mappings: list[Reader] = []
    lists: list[Reader] = []
    scalars: list[tuple[int, Reader]] = []
    for kind in kinds:
        reader = reader_for(kind)
        bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        origin = get_origin(bare) or bare
        if isinstance(reader, StructReader):
            if reader.tag is not None:
                variants[reader.tag] = reader
            else:
                structs.append(reader)
        elif origin in (dict, typing.Mapping) or getattr(origin, "__name__", "") == "Mapping":
            mappings.append(reader)
        elif origin in (list, tuple, set, frozenset):
            lists.append(reader)
        else:
            scalars.append((bare is str and kind is str, reader))
    if len(kinds) == 1 and not variants:
        only = reader_for(kinds[0])

        def optional(node: Node, reading: Reading) -> Any:
            if type(node) is Scalar and node.null and node.tag is None:
                return None
            return only(node, reading)

        return optional if nullable else only
    ordered = [reader for _, reader in sorted(scalars, key=lambda pair: pair[0])]

    def read(node: Node, reading: Reading) -> Any:
        if type(node) is Broken:
            return BAD
        if node.tag is not None:
            variant = variants.get(node.tag[1:]) if node.tag[0] == "!" else None
            if variant is None:
                return unknown_tag(node, reading, variants, unsupported)
            return variant.read_untagged(untagged(node), reading)
        if type(node) is Mapping:
            if structs:
                return max(structs, key=lambda struct: struct.known_keys(node))(node, reading)
            if mappings:
                return mappings[0](node, reading)
        elif type(node) is Sequence:
            if lists:
                return lists[0](node, reading)
        elif type(node) is Scalar:
            if node.null and nullable:
                return None
            if node.null and (lists or (not ordered and (structs or mappings))):
                return (lists or structs or mappings)[0](node, reading)
            if ordered:
                return first_that_fits(ordered, node, reading)
        if variants and not (structs or mappings or lists or ordered):
            return missing_tag(node, reading, variants)
        forms = [
            *(["a mapping"] if structs or mappings else []),
            *(["a list"] if lists else []),
            *(["a text or number"] if ordered else []),
            *(f"`!{name}`" for name in sorted(variants)),
        ]
        return wrong(node, reading, " or ".join(forms))

    return read


def first_that_fits(readers: list[Reader], node: Node, reading: Reading) -> Any:
    """The first reader without a problem; when there is none, what each of them said."""
    if len(readers) == 1:
        return readers[0](node, reading)
    said: list[str] = []
    for reader in readers:
        attempt = Reading(reading.dialect, Report(reading.dialect, None))
        value = reader(node, attempt)
        if value is not BAD:
            return value
        said.extend(problem.text for problem in attempt.report.problems)
    return reading.bad(node, ", or ".join(dict.fromkeys(said)))


# Type hints


_READERS: dict[Any, Reader] = {
    str: read_str,
    bool: read_bool,
    int: scalar_reader(parse_int, "an integer"),
    float: scalar_reader(parse_float, "a number"),
    Any: read_any,
    object: read_any,
    type(None): read_null,
}


def reader_for(hint: Any) -> Reader:
    """The reader of a type hint, made once."""
    reader = _READERS.get(hint)
    if reader is None:
        reader = _READERS[hint] = _make_reader(hint)
    return reader


def _make_reader(hint: Any) -> Reader:
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return StructReader(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return choice_reader({str(member.value): member for member in hint})
    if origin is Literal:
        return choice_reader({_literal_text(value): value for value in arguments})
    if origin is Annotated:
        return _annotated(hint.__origin__, hint.__metadata__)
    if origin is Union or origin is types.UnionType:
        return union_reader(arguments, ())
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        return fixed_tuple_reader(tuple(map(reader_for, arguments)))
    if origin in (list, tuple, set, frozenset):
        build: Callable[[list[Any]], Any] = (lambda values: values) if origin is list else origin
        return list_reader(reader_for(arguments[0]), build)
    if hint in (list, dict):
        return list_reader(read_any, lambda values: values) if hint is list else dict_reader(None, read_any)
    if origin is dict or getattr(origin, "__name__", "") == "Mapping":
        key, value = arguments
        return dict_reader(None if key is str else reader_for(key), reader_for(value))
    if isinstance(hint, typing.NewType):
        return reader_for(hint.__supertype__)
    raise TypeError(f"no reader for fields of type {hint!r}")


def _literal_text(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "null"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


def _annotated(inner: Any, rules: tuple[Any, ...]) -> Reader:
    """The reader of the inner type, or of its `Parse`; then the checks, in order, until one objects."""
    unsupported = tuple(tag for rule in rules if isinstance(rule, UnsupportedTags) for tag in rule.tags)
    if unsupported:
        members = get_args(inner) if get_origin(inner) in (Union, types.UnionType) else (inner,)
        reader = union_reader(members, unsupported)
    else:
        reader = reader_for(inner)
    for rule in rules:
        if isinstance(rule, Parse):
            reader = scalar_reader(rule.function, "a value")
        elif isinstance(rule, ParseIn):
            reader = parse_in_reader(rule)
    checks = [rule.function for rule in rules if isinstance(rule, Check | Range | Length | Pattern)]
    if not checks:
        return reader

    def read(node: Node, reading: Reading) -> Any:
        value = reader(node, reading)
        if value is not BAD:
            for check in checks:
                objection = check(value)
                if objection is not None:
                    return reading.bad(node, objection)
        return value

    return read
