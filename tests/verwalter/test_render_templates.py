"""`.j2` templates: what they can do, what they cannot, and where an error is said to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from manor.verwalter.render.checking import template_problems
from manor.verwalter.render.errors import BadTemplate
from manor.verwalter.render.templates import Templates


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "templates/app/v1"
    directory.mkdir(parents=True)
    return directory


def rendered(place: Path, text: str, **variables: Any) -> str:
    (place / "t.j2").write_text(text)
    return Templates(place, [place]).render("t.j2", variables)


def error(place: Path, text: str, **variables: Any) -> str:
    with pytest.raises(BadTemplate) as caught:
        rendered(place, text, **variables)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{place}/")


def test_a_block_alone_on_its_line_leaves_none_and_the_last_newline_stays(place: Path) -> None:
    text = "{# why #}\nlist:\n{% for name, count in items | sorted_items %}\n- {{ name }}: {{ count }}\n{% endfor %}\n"
    assert rendered(place, text, items={"b": 2, "a": 1}) == "list:\n- a: 1\n- b: 2\n"


def test_nothing_is_escaped(place: Path) -> None:
    assert rendered(place, "{{ x }}", x="<&\">'") == "<&\">'"


@pytest.mark.parametrize(
    ("expression", "value", "expected"),
    [
        ("to_json", {"b": [1, None], "a": "ü"}, '{"a": "ü", "b": [1, null]}'),
        ("to_yaml", "yes", "'yes'"),
        ("to_yaml", "plain", "plain"),
        ("to_yaml", {"b": [1, True], "a": "x: y"}, "{a: 'x: y', b: [1, true]}"),
        ("shell_quote", "it's; rm -rf /", "'it'\"'\"'s; rm -rf /'"),
        ("nginx_quote", 'a "b"; c\\d$', '"a \\"b\\"; c\\\\d$"'),
        ("sha256", "x", "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"),
        ("b64encode", "ü", "w7w="),
        ('validate("[a-z]+")', "abc", "abc"),
    ],
)
def test_filters(place: Path, expression: str, value: object, expected: str) -> None:
    assert rendered(place, f"{{{{ x | {expression} }}}}", x=value) == expected


def test_templates_include_import_and_extend_each_other_by_their_paths(place: Path) -> None:
    (place / "parts").mkdir()
    (place / "parts/base.j2").write_text("<{% block body %}{% endblock %}>")
    (place / "parts/m.j2").write_text("{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}")
    text = (
        '{% extends "parts/base.j2" %}{% block body %}{% import "parts/m.j2" as m %}{{ m.twice(name) }}'
        '{% include "u.j2" %}{% endblock %}'
    )
    (place / "u.j2").write_text("!{{ name }}")
    assert rendered(place, text, name="a") == "<aa!a>"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\n{{ nope }}", "t.j2:2:1: 'nope' is undefined"),
        ("\n\n{{ x.nope }}", "t.j2:3:1: 'dict object' has no attribute 'nope'"),
        ("{{ nope | to_json }}", "t.j2:1:1: 'nope' is undefined"),
        ("{{ nope | to_yaml }}", "t.j2:1:1: 'nope' is undefined"),
        ("{{ nope | sorted_items }}", "t.j2:1:1: 'nope' is undefined"),
        ("\n{% for %}", "t.j2:2:1: "),
        ("{{ x | nofilter }}", "t.j2:1:1: No filter named 'nofilter'"),
        ('\n{{ fail("no database anywhere") }}', "t.j2:2:1: no database anywhere"),
        ('{{ "A" | validate("[a-z]+") }}', "t.j2:1:1: 'A' does not match '[a-z]+'"),
        ('{{ "$host" | nginx_quote }}', "t.j2:1:1: '$host' cannot be written into nginx's configuration"),
        ('{% include "nope.j2" %}', "t.j2:1:1: there is no template `nope.j2` here"),
        ('{% include "/etc/passwd" %}', "t.j2:1:1: there is no template `/etc/passwd` here"),
        ('{% include "notes.txt" %}', "t.j2:1:1: there is no template `notes.txt` here"),
        ("{{ 1 / 0 }}", "t.j2:1:1: division by zero"),
        ("{{ x.__class__ }}", "t.j2:1:1: access to attribute '__class__' of 'dict' object is unsafe"),
        ("{{ ().__class__.__mro__ }}", "t.j2:1:1: access to attribute '__class__' of 'tuple' object is unsafe"),
        ("{% set _ = x.update(y=1) %}", "t.j2:1:1: access to attribute 'update' of 'dict' object is unsafe"),
        ("{% for i in range(100001) %}{% endfor %}", "t.j2:1:1: Range too big"),
    ],
)
def test_errors_name_file_and_line(place: Path, text: str, told: str) -> None:
    (place / "notes.txt").write_text("no template")
    assert error(place, text, x={}).startswith(told)


def test_an_error_in_an_included_file_names_that_file(place: Path) -> None:
    (place / "inner.j2").write_text("one\ntwo\n{{ three }}\n")
    assert error(place, '{% include "inner.j2" %}').startswith("inner.j2:3:1: 'three' is undefined")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{% for i in range(2000) %}{% for j in range(2000) %}{% endfor %}{% endfor %}", "more than 1000000 steps"),
        ('{% for i in range(30) %}{{ "x" * 1000000 }}{% endfor %}', "more than 16 MiB of output"),
        ('{{ ("x" * 100000000) | length }}', "a repetition to more than 16 Mi"),
        ("{{ 10 ** 100000000 }}", "a number of more than 4096 bits"),
    ],
)
def test_work_is_bounded(place: Path, text: str, told: str) -> None:
    assert told in error(place, text)


def test_loops_know_their_length_and_filters_on_them_work(place: Path) -> None:
    text = (
        "{% for x in items if x != 2 %}{{ loop.index }}/{{ loop.length }}{{ '' if loop.last else ',' }}"
        "{% else %}none{% endfor %}"
    )
    assert rendered(place, text, items=[1, 2, 3]) == "1/2,2/2"
    assert rendered(place, text, items=[]) == "none"


@pytest.mark.parametrize("suffix", [".tera", ".hbs", ".trm"])
def test_engines_that_are_not_there_yet_say_so(place: Path, suffix: str) -> None:
    (place / f"x{suffix}").write_text("")
    told = f"x{suffix}:1:1: `{suffix}` templates are not supported yet; use `.j2`"
    assert error(place, "") == told


def test_every_template_is_parsed_even_if_no_render_file_names_it(place: Path) -> None:
    (place / "unused.j2").write_text("\n{{ ")
    assert error(place, "fine").startswith("unused.j2:2:1: ")


def test_hidden_and_backup_files_do_not_count(place: Path) -> None:
    for name in (".hidden.j2", "old.j2~", "#edited.j2"):
        (place / name).write_text("{{ ")
    (place / ".git").mkdir()
    (place / ".git/x.j2").write_text("{{ ")
    assert rendered(place, "fine") == "fine"


def test_links_may_not_lead_out(place: Path) -> None:
    secret = place.parents[2] / "secret"
    secret.write_text("x")
    (place / "link.j2").symlink_to(secret)
    assert "link.j2: a link that leads out of the templates" in error(place, "fine")


def test_links_within_the_templates_are_fine(place: Path) -> None:
    (place.parent / "shared.j2").write_text("shared")
    (place / "link.j2").symlink_to("../shared.j2")
    assert Templates(place, [place.parents[1]]).render("link.j2", {}) == "shared"


def test_a_template_that_is_no_text_is_told_by_its_line(place: Path) -> None:
    (place / "bad.j2").write_bytes(b"fine\n\xff\n")
    assert error(place, "") == "bad.j2:2:1: not UTF-8; save it as UTF-8"


def test_checking_finds_what_is_wrong_in_every_template_directory_without_rendering(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        path = tmp_path / "templates" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("good/v1/t.j2", "{{ known_only_when_rendered }}")
    write("good/v1/a.render.yaml", 'templates: {t: t.j2}\ncommands: [!Copy {dest: "/x/{{ role }}"}]')
    write("syntax/v1/t.j2", "\n{% for %}")
    write("syntax/v1/a.render.yaml", "commands: []")
    write("unknown/v1/deep/a.render.yaml", "commands:\n- !Cmd [echo, '{{ nope }}']")
    write("missing/v1/a.render.yaml", "templates: {t: nope.j2}\ncommands: []")
    write("tag/v1/a.render.yaml", "commands:\n- !Reboot x")
    found = [line.removeprefix(f"{tmp_path}/templates/") for line in template_problems(tmp_path)]
    assert [line.partition(" ")[0] for line in found] == [
        "missing/v1/a.render.yaml:1:16:", "syntax/v1/t.j2:2:1:", "tag/v1/a.render.yaml:2:3:",
        "unknown/v1/deep/a.render.yaml:2:3:",
    ]  # fmt: skip
