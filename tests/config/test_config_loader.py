"""Loading a file into structs: values, places, and the words of every common mistake."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest

from manor.config.dialect import CANTAL, LITHOS, VAGGA, VERWALTER, Dialect
from manor.config.loader import ConfigError, Position, Problem, load, load_file, parse
from manor.config.units import (
    AbsolutePath,
    Check,
    Duration,
    Length,
    Mode,
    Parse,
    Pattern,
    Range,
    Seconds,
    Size,
    UnsupportedTags,
)


class Tmpfs(msgspec.Struct, frozen=True, kw_only=True, tag="Tmpfs"):
    size: Size = 100 * 2**20
    mode: Mode = 0o777


class Readonly(msgspec.Struct, frozen=True, kw_only=True, tag="Readonly"):
    content: ClassVar[str] = "path"
    path: AbsolutePath


class Debian(msgspec.Struct, frozen=True, kw_only=True, tag="Debian"):
    content: ClassVar[str] = "release"
    content_or_mapping: ClassVar[bool] = True
    release: str
    variant: str = "minbase"


class Install(msgspec.Struct, frozen=True, kw_only=True, tag="Install"):
    content: ClassVar[str] = "packages"
    packages: tuple[str, ...] | str


class Sh(msgspec.Struct, frozen=True, kw_only=True, tag="Sh"):
    content: ClassVar[str] = "script"
    script: str


class Level(enum.Enum):
    WARN = "warn"
    INFO = "info"


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    inside: int
    outside: int
    count: Annotated[int, Range(1)]

    def __post_init__(self) -> None:
        if self.inside == 13:
            raise ValueError("inside 13 brings bad luck; take another")

    def __problems__(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        if self.outside + self.count > 2**32:
            yield ("count",), f"{self.count} ids from {self.outside} on end above 2^32; take fewer"


def numbers(text: str) -> tuple[int, ...]:
    if not text.replace(",", "").isdigit():
        raise ValueError(f'not a list of numbers: "{text}"; write `1,2`')
    return tuple(map(int, text.split(",")))


Step = Annotated[Debian | Install | Sh, UnsupportedTags(("NpmInstall",))]


class Container(msgspec.Struct, frozen=True, kw_only=True):
    aliases: ClassVar[dict[str, str]] = {"work-dir": "workdir"}
    unsupported: ClassVar[tuple[str, ...]] = ("seccomp-profile",)

    executable: str
    workdir: str = "/"
    kind: Literal["Daemon", "Command"] = "Daemon"
    level: Level = Level.WARN
    kill_timeout_s: Annotated[Seconds, Range(0, 86400)] = msgspec.field(name="kill-timeout", default=5.0)
    wait: Duration = 1.0
    user_id: Annotated[int, Range(0, 2**32 - 2)] | None = None
    interactive: bool = False
    ratio: float = 0.0
    environ: dict[str, str] = {}
    volumes: dict[AbsolutePath, Tmpfs | Readonly] = {}
    setup: tuple[Step, ...] = ()
    uid_map: tuple[Ids, ...] = ()
    run: str | tuple[str, ...] | None = None
    names: tuple[Annotated[str, Pattern("[a-z]+", "write small letters")], ...] = ()
    numbers: Annotated[tuple[int, ...], Parse(numbers)] = ()
    even: Annotated[int, Check(lambda n: f"{n} is odd; take an even number" if n % 2 else None)] = 0
    pair: tuple[int, str] = (0, "")
    few: Annotated[list[str], Length(1, 2)] = msgspec.field(default_factory=lambda: ["x"])
    metadata: Any = None


def read(text: str, dialect: Dialect = LITHOS) -> Container:
    return load(text.encode(), "web.yaml", Container, dialect).value


def errors(text: str, dialect: Dialect = LITHOS, into: type = Container) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text.encode(), "web.yaml", into, dialect)
    return str(caught.value).splitlines()


def test_a_file_becomes_a_struct_with_everything_typed_by_its_option() -> None:
    loaded = read(
        """
executable: /bin/web
kill_timeout: 0.5
user-id: 0x10
interactive: true
level: info
environ: {YES: yes, OCTAL: 010, VERSION: 1.10, HEX: 0x1F, CLOCK: 1:30, TILDE: "~", on: "on"}
volumes:
    /tmp: !Tmpfs {size: 10Mi, mode: 0o1777}
    /run: !Tmpfs
    /data: !Readonly /srv/data
setup:
- !Debian bookworm
- !Debian {release: trixie, variant: full}
- !Install [nginx, redis]
- !Install nginx
- !Install
- !Sh "echo hi"
uid-map:
- {inside: 0, outside: 1000, count: 1}
run: [a, b]
numbers: 1,2
pair: [7, x]
few: [a, b]
"""
    )
    assert loaded == Container(
        executable="/bin/web",
        kill_timeout_s=0.5,
        user_id=16,
        interactive=True,
        level=Level.INFO,
        environ={
            "YES": "yes",
            "OCTAL": "010",
            "VERSION": "1.10",
            "HEX": "0x1F",
            "CLOCK": "1:30",
            "TILDE": "~",
            "on": "on",
        },
        volumes={"/tmp": Tmpfs(size=10 * 2**20, mode=0o1777), "/run": Tmpfs(), "/data": Readonly(path="/srv/data")},
        setup=(
            Debian(release="bookworm"),
            Debian(release="trixie", variant="full"),
            Install(packages=("nginx", "redis")),
            Install(packages="nginx"),
            Install(packages=()),
            Sh(script="echo hi"),
        ),
        uid_map=(Ids(inside=0, outside=1000, count=1),),
        run=("a", "b"),
        numbers=(1, 2),
        pair=(7, "x"),
        few=["a", "b"],
    )


def test_a_missing_value_is_none_or_empty_and_a_quoted_one_is_text() -> None:
    loaded = read("{executable: '~', user-id: ~, run: null, environ: , setup: ~, metadata: }")
    assert (loaded.executable, loaded.user_id, loaded.run, loaded.environ, loaded.setup) == ("~", None, None, {}, ())
    assert loaded.metadata is None


def test_json_is_read_too_with_its_escapes() -> None:
    loaded = read('{\n\t"executable": "\\ud83d\\ude00 \\/ \\u00e9",\n\t"environ": {"A": "\\\\ud83d\\\\ude00"}\n}')
    assert loaded.executable == "😀 / é"
    assert loaded.environ == {"A": "\\ud83d\\ude00"}


def test_every_value_can_be_found_again() -> None:
    text = b"""executable: /bin/x
kill_timeout: 7
volumes:
  /tmp: !Tmpfs {size: 1}
setup:
- !Install
  - a
  - b
- !Debian {release: x}
work-dir: /y
"""
    document = load(text, "web.yaml", Container, LITHOS)
    assert document.at() == Position("web.yaml", 1, 1)
    assert document.at("executable") == Position("web.yaml", 1, 13)
    assert document.at("kill-timeout") == document.at("kill_timeout_s") == Position("web.yaml", 2, 15)
    assert document.at("volumes", "/tmp", "size") == Position("web.yaml", 4, 23)
    assert document.at("setup", 0) == Position("web.yaml", 6, 3)
    assert document.at("setup", 0, "packages", 1) == Position("web.yaml", 8, 5)
    assert document.at("setup", 1, "release") == Position("web.yaml", 9, 21)
    assert document.at("workdir") == Position("web.yaml", 10, 11)
    assert document.at("setup", 9, "no", "such") == document.at("setup") == Position("web.yaml", 6, 1)
    assert document.at("volumes", "/nowhere") == Position("web.yaml", 4, 3)
    problem = document.problem(("setup", 1, "release"), "no such release; take another")
    assert str(problem) == "web.yaml:9:21: Validation Error: no such release; take another (in `setup[1].release`)"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # options
        ("{executabl: x, executable: y}", "1:2: unknown option `executabl`; did you mean `executable`?"),
        ("{}", "1:1: `executable` is required; add `executable: …`"),
        ("", "1:1: `executable` is required; add `executable: …`"),
        ("[a]", "1:1: found a list; write a mapping with the options `environ`"),
        (
            "{executable: x, user-id: 1, user_id: 2}",
            "1:29: `user_id` and `user-id` are the same option; keep one of them",
        ),
        ("{executable: x, work-dir: a, workdir: b}", "1:30: `workdir` and `work-dir` are the same option; keep one"),
        ("{executable: x, seccomp_profile: a}", "1:17: `seccomp_profile` is not supported yet; leave it out"),
        # scalars
        ("{executable: [x]}", "1:14: found a list; write a text (in `executable`)"),
        ("{executable: }", '1:14: the value is missing; write a text, `""` for the empty one (in `executable`)'),
        ("{executable: !!str x}", "1:14: the tag `!!str` is not allowed here; write a text (in `executable`)"),
        ("{executable: !Foo x}", "1:14: the tag `!Foo` is not allowed here; write a text (in `executable`)"),
        (
            "{executable: x, interactive: yes}",
            '1:30: "yes" is neither true nor false; write `true` or `false` (in `interactive`)',
        ),
        ("{executable: x, interactive: {}}", "1:30: found a mapping; write `true` or `false` (in `interactive`)"),
        ("{executable: x, user-id: lots}", '1:26: not a number: "lots"; write digits, with one of the units k, ki, M,'),
        ("{executable: x, user-id: -1}", "1:26: -1 is below the minimum 0 (in `user-id`)"),
        ("{executable: x, kill-timeout: 100000}", "1:31: 100000 is above the maximum 86400 (in `kill-timeout`)"),
        ("{executable: x, kind: daemon}", '1:23: unknown value "daemon"; did you mean `Daemon`? (in `kind`)'),
        ("{executable: x, level: loud}", '1:24: unknown value "loud"; known: `info`, `warn` (in `level`)'),
        ("{executable: x, names: [a, B]}", '1:28: not allowed: "B"; write small letters (in `names[1]`)'),
        ("{executable: x, numbers: x}", '1:26: not a list of numbers: "x"; write `1,2` (in `numbers`)'),
        ("{executable: x, even: 3}", "1:23: 3 is odd; take an even number (in `even`)"),
        # collections
        ("{executable: x, names: a}", '1:24: found the text "a"; write a list such as `[a]` (in `names`)'),
        ("{executable: x, environ: [a]}", "1:26: found a list; write a mapping `name: value` (in `environ`)"),
        ("{executable: x, environ: {a: {}}}", "1:30: found a mapping; write a text (in `environ.a`)"),
        ("{executable: x, environ: {[a]: b}}", "1:27: a key must be plain text; write `name: value`"),
        ("{executable: x, pair: [1]}", "1:23: found a list; write a list of 2 items (in `pair`)"),
        ("{executable: x, few: [a, b, c]}", "1:22: has 3 entries, too many; give at most 2 (in `few`)"),
        ("{executable: x, run: {}}", "1:22: found a mapping; write a list or a text or number (in `run`)"),
        # variants
        (
            "{executable: x, volumes: {/a: !Tmpf }}",
            "1:31: unknown tag `!Tmpf`; did you mean `!Tmpfs`? known: `!Readonly`, `!Tmpfs` (in `volumes./a`)",
        ),
        (
            "{executable: x, volumes: {/a: !!map {}}}",
            "1:31: unknown tag `!!map`; known: `!Readonly`, `!Tmpfs` (in `volumes./a`)",
        ),
        (
            "{executable: x, volumes: {/a: {}}}",
            "1:31: found a mapping without a tag; write one of `!Readonly`, `!Tmpfs` (in `volumes./a`)",
        ),
        ("{executable: x, volumes: {a: !Tmpfs }}", '1:27: the path "a" is relative; write it from the root, beginning'),
        (
            "{executable: x, volumes: {/a: !Tmpfs {siz: 1}}}",
            "1:39: unknown option `siz`; did you mean `size`? (in `volumes./a`)",
        ),
        ("{executable: x, volumes: {/a: !Tmpfs {size: 1GB}}}", '1:45: not a number: "1GB"; write `1G`'),
        ("{executable: x, setup: [!NpmInstall [a]]}", "1:25: `!NpmInstall` is not supported yet; leave it out"),
        ("{executable: x, setup: [!Sh ]}", '1:25: the value is missing; write a text, `""` for the empty one'),
        # structs with rules of their own
        (
            "{executable: x, uid-map: [{inside: 13, outside: 1, count: 1}]}",
            "1:27: inside 13 brings bad luck; take another",
        ),
        (
            "{executable: x, uid-map: [{inside: 1, outside: 4294967290, count: 9}]}",
            "1:67: 9 ids from 4294967290 on end above 2^32; take fewer (in `uid-map[0].count`)",
        ),
        # YAML itself
        ("executable: x\nexecutable: y", "2:1: the key `executable` is given twice, first in line 1; keep one of them"),
        ("environ:\n\ta: b", "2:1: a tab stands where only blanks may; indent with blanks"),
        ("a: b: c", "1:5: a `:` is not allowed here; check the indentation, or put the text in quotes"),
        ("a: 'b\n", "2:1: the file ends inside a quoted text; close the quotation mark"),
        ("a: @b", "1:4: a text may not begin with `@`; put it in quotes"),
        ("a: [b, c\nd: e", "2:2: a list in brackets is not closed; put `,` between the items and `]` at the end"),
        ("a: *b", "1:4: no anchor `&b` before this alias; check its name"),
        ("a: &b [*b]", "1:8: the alias `*b` stands inside its own anchor; a value cannot hold itself"),
        ("{}\n---\n{}", "2:1: a second document begins here; one file holds one document"),
        ("a: \x01", "1:4: the character U+0001 is not allowed in YAML; write it as an escape in double quotes"),
    ],
)
def test_the_words_of_a_mistake(text: str, line: str) -> None:
    first = errors(text, CANTAL)[0]
    assert first.startswith(f"web.yaml:{line}"), first


def test_all_mistakes_of_a_file_are_told_at_once_what_is_absent_last() -> None:
    told = errors("kill-timeout: 5s\nenviron: {A: }\nvolumes: {/x: !Tmpf , /y: !Tmpfs {mode: 8x}}\n", VERWALTER)
    assert [line.split(": ")[0] for line in told] == [
        "web.yaml:1:15",
        "web.yaml:2:14",
        "web.yaml:3:15",
        "web.yaml:3:41",
        "web.yaml:1:1",
    ]


def test_a_problem_can_be_taken_apart() -> None:
    with pytest.raises(ConfigError) as caught:
        load(b"{executable: x, user-id: lots}", "web.yaml", Container, LITHOS)
    (problem,) = caught.value.problems
    assert isinstance(problem, Problem)
    assert problem.at == Position("web.yaml", 1, 26)
    assert (problem.kind, problem.path) == ("Validation Error", ("user-id",))
    assert caught.value.exit_status == 1


def test_bytes_that_are_not_utf_8_are_placed_and_a_byte_order_mark_is_not_counted() -> None:
    with pytest.raises(ConfigError, match=r"^web.yaml:2:3: byte 0xff is not UTF-8; save the file in UTF-8$"):
        load("é: 1\né:".encode() + b"\xff", "web.yaml", Container, CANTAL)
    assert load(b"\xef\xbb\xbfexecutable: x", "web.yaml", Container, CANTAL).at("executable").column == 13
    with pytest.raises(ConfigError, match="not UTF-8"):
        load("executable: x".encode("utf-16"), "web.yaml", Container, CANTAL)


def test_lines_are_counted_as_editors_do() -> None:
    text = 'metadata: "a\u2028b\x85c"\nexecutable: x\n'
    assert load(text.encode(), "web.yaml", Container, CANTAL).at("executable") == Position("web.yaml", 2, 13)
    assert load(text.replace("\n", "\r\n").encode(), "web.yaml", Container, CANTAL).at("executable").line == 2


def test_what_a_file_says_never_breaks_the_line_of_its_error() -> None:
    (line,) = errors('{executable: x, level: "a\\nb\\e[31m' + "c" * 200 + '"}', CANTAL)
    assert '"a\\nb\\x1b[31m' in line
    assert len(line) < 200


def test_a_file_that_cannot_be_read_is_a_problem_at_its_first_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_file(tmp_path / "no.yaml", Container, CANTAL, shown_as="no.yaml")
    assert str(caught.value) == (
        "no.yaml:1:1: cannot read this file: No such file or directory; check that it is there and readable"
    )
    with pytest.raises(ConfigError, match="Is a directory"):
        load_file(tmp_path, Container, CANTAL)
    (tmp_path / "web.yaml").write_text("executable: x")
    document = load_file(tmp_path / "web.yaml", Container, CANTAL)
    assert document.files == (tmp_path / "web.yaml",)


def test_one_option_can_be_looked_at_before_the_file_is_judged() -> None:
    parsed = parse(b"minimum_vagga: 99.0\nsetup: [!FromTheFuture x]\n", "vagga.yaml", VAGGA)
    assert parsed.option("minimum-vagga") == ("99.0", Position("vagga.yaml", 1, 16))
    assert parsed.option("setup") is None
    assert parsed.option("nothing") is None
    with pytest.raises(ConfigError, match="unknown tag `!FromTheFuture`"):
        parsed.load(Container)


class PerNode(msgspec.Struct, frozen=True, kw_only=True):
    per_node: int


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    servers: tuple[str, ...]
    number_per_server: int = 1


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    instances: int | PerNode | Servers = 1
    mount: bool | Literal["auto", "nil"] | None = None


def test_forms_of_one_option_are_told_apart_by_their_look() -> None:
    def instances(text: str) -> object:
        return load(f"instances: {text}".encode(), "roles.yaml", Daemon, VERWALTER).value.instances

    assert instances("3") == 3
    assert instances("{per-node: 2}") == PerNode(per_node=2)
    assert instances("{servers: [a], number_per_server: 2}") == Servers(servers=("a",), number_per_server=2)
    assert errors("instances: {server: [a], number-per-server: 2}", VERWALTER, Daemon) == [
        "web.yaml:1:13: unknown option `server`; did you mean `servers`? (in `instances`)",
        "web.yaml:1:12: `servers` is required; add `servers: …` (in `instances`)",
    ]
    assert load(b"mount: nil", "x", Daemon, LITHOS).value.mount == "nil"
    assert load(b"mount: true", "x", Daemon, LITHOS).value.mount is True
    assert load(b"mount: ~", "x", Daemon, LITHOS).value.mount is None
    assert errors("mount: yes", CANTAL, Daemon) == [
        'web.yaml:1:8: "yes" is neither true nor false; write `true` or `false`, '
        'or unknown value "yes"; known: `auto`, `nil` (in `mount`)'
    ]


class Namesake(msgspec.Struct, frozen=True, kw_only=True):
    aliases: dict[str, str] = {}
    content: str = ""
    unsupported: str = ""


def test_options_may_have_the_names_of_class_settings() -> None:
    document = load(b"aliases: {a: b}\ncontent: x\nunsupported: y\n", "f.yaml", Namesake, VAGGA)
    assert document.value == Namesake(aliases={"a": "b"}, content="x", unsupported="y")
    assert document.at("content") == Position("f.yaml", 2, 10)


class Mixed(msgspec.Struct, frozen=True, kw_only=True):
    step: Step | str | None = None


def test_variants_and_plain_text_can_share_an_option() -> None:
    def step(text: str) -> object:
        return load(f"step: {text}".encode(), "f.yaml", Mixed, VAGGA).value.step

    assert (step("x"), step("~"), step("!Sh x")) == ("x", None, Sh(script="x"))
    assert errors("step: !NpmInstall", VAGGA, Mixed) == [
        "web.yaml:1:7: `!NpmInstall` is not supported yet; leave it out (in `step`)"
    ]
