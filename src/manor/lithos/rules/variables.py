"""Variables of container configs: their types, their values, and `@{name}` in texts (rule V7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from manor.lithos.files.container import (
    PID_VARIABLE,
    ChoiceVariable,
    ContainerConfig,
    DottedNameVariable,
    NameVariable,
    TcpPortVariable,
    VariableType,
)
from manor.lithos.rules.findings import Finding, container, processes

REFERENCE: Final = re.compile(r"@\{([^}]*)\}")
NAME_BUILT_IN: Final = "lithos:name"
CONFIG_BUILT_IN: Final = "lithos:config_filename"
PID_BUILT_IN: Final = "lithos:pid"

_NAME: Final = re.compile(r"[0-9a-zA-Z_-]+")
_LABEL: Final = re.compile(r"[0-9a-zA-Z_-]+")


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Replace each `@{name}`; what is put in is not looked at again. Unknown names must have been refused before."""
    return REFERENCE.sub(lambda match: values.get(match[1].strip(), match[0]), text)


def references(text: str) -> list[str]:
    return [match[1].strip() for match in REFERENCE.finditer(text)]


def value_problem(kind: VariableType, value: str) -> str | None:
    """What is wrong with a value for a variable of this type, or None. Whether a port is allowed is not asked here."""
    if isinstance(kind, TcpPortVariable):
        if not (value.isascii() and value.isdecimal()) or not 1 <= int(value) <= 65535:
            return f"`{value}` is not a port; write a number 1..65535"
    elif isinstance(kind, ChoiceVariable):
        if value not in kind.choices:
            return f"`{value}` is not one of the choices {', '.join(kind.choices)}"
    elif isinstance(kind, NameVariable):
        if not _NAME.fullmatch(value):
            return f"`{value}` is not a name; write letters, digits, `-` and `_`"
    elif isinstance(kind, DottedNameVariable) and not _is_dotted_name(value):
        return f"`{value}` is not a dotted name; join labels of letters, digits, `-` and `_` by single dots"
    return None


def _is_dotted_name(value: str) -> bool:
    return all(
        _LABEL.fullmatch(label) and not label.startswith("-") and not label.endswith("-") for label in value.split(".")
    )


def value_findings(config: ContainerConfig, given: Mapping[str, str], entry: str) -> Iterator[Finding]:
    """Every declared variable has a value valid for its type; values nobody declared are ignored."""
    for name, kind in config.variables.items():
        if name not in given:
            yield processes(
                (entry, "variables"), f"variable `{name}` has no value; the container config declares it, so give one"
            )
        elif (problem := value_problem(kind, given[name])) is not None:
            yield processes((entry, "variables", name), f"variable `{name}`: {problem}")


def reference_findings(config: ContainerConfig) -> Iterator[Finding]:
    """Every reference resolves, and `@{lithos:pid}` stands alone."""
    known = {*config.variables, NAME_BUILT_IN, CONFIG_BUILT_IN}
    for path, text in _texts(config):
        in_environ = path[0] == "environ"
        if in_environ and is_pid(text):
            continue
        for name in references(text):
            if name == PID_BUILT_IN:
                yield container(
                    path,
                    f"`@{{{PID_BUILT_IN}}}` must be the sole value of an environment item; nothing else can hold it",
                )
            elif name not in known:
                declared = ", ".join(sorted(config.variables)) or "none"
                yield container(path, f"unknown variable `{name}`; declared are: {declared}")


def _texts(config: ContainerConfig) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for index, argument in enumerate(config.arguments):
        yield ("arguments", index), argument
    for name, value in config.environ.items():
        yield ("environ", name), value
    for key in config.tcp_ports:
        yield ("tcp_ports", key), key
    for option, probe in (("readiness", config.readiness), ("health", config.health)):
        if probe is not None and probe.port is not None:
            yield ((option, "http", "port") if probe.http is not None else (option, "tcp")), probe.port


def is_pid(text: str) -> bool:
    """True if the text is `@{lithos:pid}` and nothing else."""
    return PID_VARIABLE.fullmatch(text) is not None


def built_in_values(instance_name: str, config_file: str) -> dict[str, str]:
    return {NAME_BUILT_IN: instance_name, CONFIG_BUILT_IN: config_file}


def substitution(config: ContainerConfig, given: Mapping[str, str], instance: str, file: str) -> Callable[[str], str]:
    """The function that fills in the values of one instance."""
    declared = {name: given[name] for name in config.variables if name in given}
    values = {**declared, **built_in_values(instance, file)}
    return lambda text: substitute(text, values)
