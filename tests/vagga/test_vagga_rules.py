"""Small rules on their own: ids, environment, addresses, prerequisites, layers flattened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manor.vagga.environ import command_environment, home_of, parse_environ_file
from manor.vagga.errors import SetupError, UsageError
from manor.vagga.flatten import flatten
from manor.vagga.id_ranges import parse_ranges
from manor.vagga.packages.host_apt import parse_dump
from manor.vagga.sockets import parse_address


def test_ranges_of_ids_are_read_as_written() -> None:
    assert parse_ranges(["0-65535"]) == [(0, 65536)]
    assert parse_ranges(["0", "33", "100-101"]) == [(0, 1), (33, 1), (100, 2)]
    for wrong in ("", "a", "-1", "5-2", "1-", "99999999999", "٣"):
        with pytest.raises(ValueError, match="id"):
            parse_ranges([wrong])


@pytest.mark.case("vagga-54")
def test_taking_sources_away_from_the_top_shows_the_next_one() -> None:
    caller = {"X": "propagated", "VAGGAENV_X": "prefixed", "OTHER": "invisible", "http_proxy": "proxy"}
    sources: dict[str, object] = {
        "environ_file": {"X": "file"},
        "container": {"X": "container"},
        "command": {"X": "command"},
        "propagate": ["X"],
        "settings": {"X": "settings"},
        "assignments": ["X=assigned"],
    }

    def x(*without: str, caller: dict[str, str] = caller, use_env: tuple[str, ...] = ()) -> str | None:
        given = {name: value for name, value in sources.items() if name not in without}
        variables = command_environment(caller=caller, home="/", use_env=use_env, **given)  # type: ignore[arg-type]
        assert "OTHER" not in variables
        assert variables["http_proxy"] == "proxy"
        return variables.get("X")

    plain = {"X": "propagated", "OTHER": "invisible", "http_proxy": "proxy"}
    gone = ["assignments"]
    assert x() == "assigned"
    assert x(*gone, use_env=("X",)) == "propagated"  # the caller's own value, over the prefixed one
    assert x(*gone) == "prefixed"
    assert x(*gone, caller=plain) == "settings"
    assert x(*gone, "settings", caller=plain) == "propagated"
    assert x(*gone, "settings", "propagate", caller=plain) == "command"
    assert x(*gone, "settings", "propagate", "command", caller=plain) == "container"
    assert x(*gone, "settings", "propagate", "command", "container", caller=plain) == "file"
    assert x(*gone, "settings", "propagate", "command", "container", "environ_file", caller=plain) is None


def test_names_can_be_taken_away_and_patterns_match_whole_names() -> None:
    caller = {"VAGGAENV_A": "1", "AB": "2", "XAB": "3"}
    variables = command_environment(caller=caller, home="/h", assignments=["A"], propagate=["A*"], use_env=["MISSING"])
    assert "A" not in variables and variables["AB"] == "2" and "XAB" not in variables
    assert variables["MISSING"] == "" and variables["HOME"] == "/h" and variables["TERM"] == "dumb"
    with pytest.raises(UsageError, match="-E A=b"):
        command_environment(caller={}, home="/", use_env=["A=b"])


def test_an_environ_file_is_read_line_by_line() -> None:
    text = "# comment\n\nA=1\nB = 'two words'\nC=\"x\"y\n"
    assert parse_environ_file(text, "/e") == {"A": "1", "B": "two words", "C": '"x"y'}
    with pytest.raises(SetupError, match=r"^/e:2:1: "):
        parse_environ_file("A=1\nnonsense\n", "/e")


def test_home_comes_from_passwd() -> None:
    passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv/web:\n"
    assert [home_of(passwd, uid) for uid in (0, 33, 5)] == ["/root", "/srv/web", "/"]


def test_addresses_have_four_forms() -> None:
    assert parse_address("8000") == ("127.0.0.1", 8000)
    assert parse_address("*:80") == ("0.0.0.0", 80)
    assert parse_address("[::1]:8000") == ("::1", 8000)
    assert parse_address("localhost:1") == ("localhost", 1)
    for wrong in ("", "0", "70000", "a", "::1:80", "http://x:1"):
        with pytest.raises(ValueError, match="address"):
            parse_address(wrong)


def test_of_the_hosts_apt_only_the_transport_is_taken() -> None:
    dump = 'APT "";\nAcquire::http::Proxy "http://p:1";\nAcquire::Check-Date "false";\nAcquire::Languages "none";\n'
    assert parse_dump(dump) == ['Acquire::http::Proxy "http://p:1";', 'Acquire::Check-Date "false";']


@pytest.mark.parametrize("method", ["hardlink", "copy"])
def test_layers_become_the_merged_view(tmp_path: Path, method: str) -> None:
    if os.getuid() != 0:
        pytest.fail("whiteouts need root")
    low, high = tmp_path / "low", tmp_path / "high"
    for path in ("keep/a", "keep/b", "gone/x", "replaced/old", "file"):
        (low / path).parent.mkdir(parents=True, exist_ok=True)
        (low / path).write_text(path)
    os.link(low / "keep/a", low / "keep/a2")
    (low / "link").symlink_to("keep/a")
    (low / "keep").chmod(0o750)
    os.utime(low / "keep", (1, 1))
    (high / "keep").mkdir(parents=True)
    (high / "keep").chmod(0o700)
    (high / "keep/b").write_text("new b")
    os.mknod(high / "gone", 0o600 | 0o020000, os.makedev(0, 0))
    (high / "replaced").mkdir()
    os.setxattr(high / "replaced", "user.overlay.opaque", b"y")
    (high / "replaced/new").write_text("n")
    (high / "file").mkdir()
    os.utime(high / "keep", (2, 2))

    image = tmp_path / "image"
    size = flatten([low, high], image, method)  # type: ignore[arg-type]

    assert sorted(str(p.relative_to(image)) for p in image.rglob("*")) == [
        "file", "keep", "keep/a", "keep/a2", "keep/b", "link", "replaced", "replaced/new",
    ]  # fmt: skip
    assert (image / "keep/b").read_text() == "new b"
    assert (image / "keep").stat().st_mode & 0o777 == 0o700
    assert (image / "keep").stat().st_mtime == 2
    assert os.listxattr(image / "replaced") == []
    assert (image / "keep/a").samefile(image / "keep/a2")
    assert (image / "keep/a").samefile(low / "keep/a") is (method == "hardlink")
    assert size.files == 5
