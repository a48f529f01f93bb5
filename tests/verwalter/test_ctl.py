"""verwalter-ctl against a daemon that answers what it was told to."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ctl_daemon import ToldDaemon, status, told_daemon

from manor.verwalter.ctl import main


@pytest.fixture
def daemon() -> Iterator[ToldDaemon]:
    with told_daemon(status=status()) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def no_token_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VERWALTER_TOKEN", raising=False)


NOT_LEADER = {"error": "this node does not lead", "code": "not-leader"}

DATA = {
    "roles": {
        "site": {"version": "v1.2", "unplaced": {"web": 1}, "bad_versions": {"v1.3": "no image"},
                 "info": {"update": "smooth 1/3 forward"}},
        "balancer": {"version": "v1"},
    },
    "nodes": {
        "alpha": {"roles": {"site": {"daemons": {
            "web-a": {"version": "v1.2", "image": "app.1", "instances": 2},
            "web-b": {"version": "v1.4", "image": "app.2", "instances": 1}}}}},
        "beta": {"roles": {"balancer": {"daemons": {}}}},
    },
    "state": {"site": {"version": "v1.2"}},
}  # fmt: skip
NODES = {
    "alpha": {"addr": "127.0.0.1:8379", "self": True, "responsive": True, "age_ms": 0, "errors": 0, "report": {
        "version": "v1.0.0", "failed_roles": ["site"], "errors": {"disk": "full"},
        "sandboxes": {"site": {"images": ["app.1"]}},
        "instances": {"site/web-a.0": {"state": "ready", "since": 1000, "restarts": 0, "image": "app.1", "error": None},
                      "site/web-a.1": {"state": "failed", "since": 1000, "restarts": 7, "image": "app.1",
                                       "error": "no such file: /config/web.yaml"}}}},
    "beta": {"addr": "127.0.0.2:8379", "self": False, "responsive": False, "age_ms": 9000, "errors": 1, "report": None},
}  # fmt: skip


# -- tables


def test_a_status_in_a_pipe_is_plain_lines(daemon: ToldDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    leader = {"id": "7798", "name": "alpha.example.org", "hostname": "alpha", "addr": "10.0.0.1:8379"}
    daemon.answers["status"] = status(leader=leader, failed_roles=["site"], errors={"disk": "No space left on device"})
    assert main(["--url", daemon.url, "status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "node         alpha.example.org (alpha, id 7798, v1.0.0)"
    assert "leader       alpha.example.org (10.0.0.1:8379)" in lines
    assert "roles        3; failed: site" in lines
    assert "error disk   No space left on device" in lines


def test_columns_are_aligned_and_one_line_a_row(daemon: ToldDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    role = {"nodes": ["alpha", "beta"], "version": "v1.2", "versions": ["v1.3", "v1.2"], "failed": True,
            "error": "two\nlines", "orphaned": False, "update": None}  # fmt: skip
    daemon.answers["roles"] = {"site": role, "a-long-name": role | {"version": None, "failed": False, "nodes": []}}
    assert main(["--url", daemon.url, "roles"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ROLE         VERSION  NODES        VERSIONS    UPDATE  TROUBLE",
        "a-long-name  -        -            v1.3, v1.2  -       -",
        "site         v1.2     alpha, beta  v1.3, v1.2  -       failed: two lines",
    ]


def test_on_a_terminal_square_brackets_are_no_markup(
    daemon: ToldDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    role = {"nodes": [], "version": "v1", "versions": [], "failed": True, "error": "[red]x[/red]", "orphaned": False,
            "update": None}  # fmt: skip
    daemon.answers["roles"] = {"site": role}
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["--url", daemon.url, "roles"]) == 0
    assert "failed: [red]x[/red]" in capsys.readouterr().out


@pytest.mark.parametrize("subcommand", ["status", "peers", "election", "roles", "nodes"])
def test_json_prints_the_document_as_it_came(
    daemon: ToldDaemon, subcommand: str, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {"anything": ["ünchanged", 1.0]}
    daemon.answers[subcommand] = document
    assert main(["--url", daemon.url, "--json", subcommand]) == 0
    assert json.loads(capsys.readouterr().out) == document


def test_peers_election_nodes_and_failed(daemon: ToldDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    peer = {"id": "7799", "name": "beta.example.org", "hostname": "beta", "primary_addr": "10.0.0.2:8379",
            "known_since": 1, "last_report_direct": None, "errors": 0, "responsive": False}  # fmt: skip
    event = {"at": 1, "from": "Starting", "to": "Leader", "epoch": 1, "reason": "alone"}
    daemon.answers |= {
        "peers": [peer],
        "election": {"state": "Leader", "epoch": 1, "leader": "7798", "num_votes_for_me": None, "needed_votes": 1,
                     "counted_peers": 1, "fresh": True, "may_stand": True, "events": [event]},
        "nodes": NODES,
        "status": status(failed_roles=["site"], errors={"disk": "full"}),
        "roles": {"site": {"error": "error executing commands"}},
    }  # fmt: skip
    for subcommand, told in (
        ("peers", ["beta  beta.example.org  10.0.0.2:8379  no          -"]),
        (
            "election",
            ["state          Leader, epoch 1", "votes          - of 1 needed", "Starting  Leader  1      alone"],
        ),
        ("nodes", ["1 failed, 1 ready  site", "beta   127.0.0.2:8379  silent  9s     -"]),
        ("failed", ["alpha  role    site  error executing commands", "alpha  daemon  disk  full"]),
    ):
        assert main(["--url", daemon.url, subcommand]) == 0
        printed = capsys.readouterr().out
        for line in told:
            assert line in printed


def test_watch_prints_again_until_interrupted(daemon: ToldDaemon) -> None:
    program = [sys.executable, "-c", "import sys; from manor.verwalter.ctl import main; sys.exit(main())"]
    arguments = ["--url", daemon.url, "--watch=0.1", "status"]
    with subprocess.Popen([*program, *arguments], stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        seen = 0
        while seen < 3:
            seen += watching.stdout.readline().startswith("node ")
        watching.kill()


def test_watch_is_for_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--watch", "key", "generate"]) == 2
    assert "`--watch` is for subcommands that print tables" in capsys.readouterr().err


# -- explain, schedule


def test_explain_tells_every_wanted_instance_and_what_keeps_it(
    daemon: ToldDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers |= {"schedule": {"hash": "h", "ancestors": [], "data": DATA}, "nodes": NODES}
    assert main(["--url", daemon.url, "explain", "site"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1][:4] == ["alpha", "web-a.0", "v1.2", "ready"]
    assert lines[2][:4] == ["alpha", "web-a.1", "v1.2", "failed"]
    assert lines[2][5:] == ["7", "no", "such", "file:", "/config/web.yaml"]
    assert lines[3][:7] == ["alpha", "web-b.0", "v1.4", "waits", "for", "image", "app.2"]
    rest = [" ".join(line) for line in lines[4:]]
    assert rest == [
        "version v1.2, update smooth 1/3 forward",
        "not placed: web: 1",
        "version v1.3 cannot be used: no image",
        "rendering failed on alpha; its log there says why",
        "beta does not respond",
    ]
    assert main(["--url", daemon.url, "explain", "sight"]) == 6
    assert "no such role `sight`; there are balancer, site" in capsys.readouterr().err


def test_schedule_prints_all_a_role_or_a_node(daemon: ToldDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    envelope = {"hash": "h", "ancestors": [], "data": DATA}
    daemon.answers["schedule"] = envelope

    def printed(*arguments: str) -> Any:
        assert main(["--url", daemon.url, "schedule", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    assert printed() == envelope
    assert printed("--node", "beta") == {"nodes": {"beta": DATA["nodes"]["beta"]}}
    assert printed("--role", "balancer") == {
        "nodes": {"beta": {"roles": {"balancer": {"daemons": {}}}}}, "roles": {"balancer": {"version": "v1"}}
    }  # fmt: skip
    assert main(["--url", daemon.url, "schedule", "--role", "nope"]) == 6
    assert main(["--url", daemon.url, "schedule", "--node", "nope"]) == 6
    assert main(["--url", daemon.url, "schedule", "--node", "beta", "--role", "site"]) == 6


def test_schedule_diff(daemon: ToldDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    before = {"nodes": {"b": {"roles": {"site": {"n": 1, "gone": [1]}}}}, "state": {"site": 1}}
    after = {"nodes": {"b": {"roles": {"site": {"n": 2}, "new": {}}}}, "state": {"site": 2}}
    daemon.answers |= {
        "schedule": {"hash": "b" * 64, "ancestors": [["a" * 64, 1], ["c" * 64, 0]], "data": after},
        f"schedule?hash={'a' * 64}": {"hash": "a" * 64, "ancestors": [], "data": before},
    }
    expected = ["- nodes.b.roles.site.gone: [1]", "~ nodes.b.roles.site.n: 1 -> 2"]
    for words, told in (
        (["--diff"], ["+ nodes.b.roles.new: {}", *expected]),
        (["--diff", "aaaa"], ["+ nodes.b.roles.new: {}", *expected]),
        (["--diff", "prev", "now", "--role", "site", "--node", "b"], expected),
        (["--diff", "now", "now"], []),
    ):
        assert main(["--url", daemon.url, "schedule", *words]) == 0
        assert capsys.readouterr().out.splitlines() == told
    assert main(["--url", daemon.url, "schedule", "--diff", "cccc"]) == 6  # no longer at hand there
    assert main(["--url", daemon.url, "schedule", "--diff", "shadow:x"]) == 2
    assert main(["--url", daemon.url, "schedule", "--diff", "a", "b", "c"]) == 2


# -- what changes something


OK = {"ok": True, "message": "done"}


@pytest.mark.parametrize(
    ("words", "button"),
    [
        ("update site start v1.3", {"action": "start_update", "to_version": "v1.3"}),
        ("update site force v1.3", {"action": "force_version", "to_version": "v1.3"}),
        ("update site pause", {"action": "update_action", "update_action": "pause"}),
        ("update site ack --step x", {"action": "update_action", "update_action": "ack", "step": "x"}),
        ("update site error bad", {"action": "update_action", "update_action": "error", "error_message": "bad"}),
        ("scale site web 4", {"action": "scale", "daemon": "web", "count": 4}),
        ("scale site web auto", {"action": "scale", "daemon": "web", "count": "auto"}),
        ("auto-update site on", {"action": "enable_auto_update"}),
        ("auto-update site off", {"action": "disable_auto_update"}),
    ],
)
def test_buttons(daemon: ToldDaemon, words: str, button: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["wait_action"] = OK
    assert main(["--url", daemon.url, *words.split()]) == 0
    assert capsys.readouterr().out == "done\n"
    assert daemon.posted() == [("wait_action", {"button": {"role": "site"} | button})]


@pytest.mark.parametrize(
    ("answer", "exit_status", "told"),
    [
        ({"ok": False, "error": "v1.2 is the present version already"}, 1, "refused: v1.2 is the present version"),
        ({"ok": False, "error": "unknown role `site`"}, 6, "refused: unknown role `site`"),
        ({"ok": False, "error": "unknown version `v9`; known are v1"}, 6, "unknown version"),
        ((503, {"error": "this node leads no more", "code": "lost"}), 1, "leads no more"),
        ((504, {"error": "no round has succeeded yet"}), 4, "no round has succeeded yet"),
        ((401, {"error": "a token is needed"}), 5, "a token is needed"),
        ((403, {"error": "`ann` may not"}), 5, "`ann` may not"),
        ((429, {"error": "1000 actions wait"}), 1, "1000 actions wait"),
        ((503, NOT_LEADER | {"leader": None}), 4, "this node does not lead"),
        ((500, b"<html>"), 1, "HTTP status 500"),
        (b"<html>", 1, "is no JSON"),
    ],
)
def test_refusals_have_statuses_of_their_own(
    daemon: ToldDaemon, answer: Any, exit_status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers["wait_action"] = answer
    assert main(["--url", daemon.url, "update", "site", "start", "v1.2"]) == exit_status
    errors = capsys.readouterr().err
    assert told in errors
    assert errors.count("\n") == 1


def test_an_action_is_pushed_and_waited_for_if_wanted(
    daemon: ToldDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers |= {"action": {"registered": 1773479700412}, "wait_action": (204, b"")}
    file = tmp_path / "action.json"
    file.write_text('{"anything": 1}')
    assert main(["--url", daemon.url, "action", f"@{file}"]) == 0
    assert main(["--url", daemon.url, "action", '{"anything": 2}', "--wait"]) == 0
    assert capsys.readouterr().out == "registered as 1773479700412\ndone; the scheduler did not answer\n"
    assert daemon.posted() == [("action", {"anything": 1}), ("wait_action", {"anything": 2})]
    assert main(["--url", daemon.url, "action", "{"]) == 2
    assert main(["--url", daemon.url, "action", "[]"]) == 2
    assert main(["--url", daemon.url, "action", "@/nowhere"]) == 2
    assert len(daemon.posted()) == 2


def test_actions_go_to_the_leader_whichever_node_is_asked(daemon: ToldDaemon) -> None:
    with told_daemon(status=status(is_leader=False)) as follower:
        leader = {"id": "1", "name": "x", "hostname": "x", "addr": daemon.address}
        follower.answers["status"] = status(is_leader=False, leader=leader)
        daemon.answers["wait_action"] = OK
        assert main(["--url", follower.url, "scale", "site", "web", "2"]) == 0
        assert follower.posted() == []
        assert len(daemon.posted()) == 1


def test_an_action_follows_a_leadership_that_moves_on_meanwhile(daemon: ToldDaemon) -> None:
    with told_daemon(status=status()) as former:
        former.answers["wait_action"] = (503, NOT_LEADER | {"leader": daemon.address})
        daemon.answers["wait_action"] = OK
        assert main(["--url", former.url, "scale", "site", "web", "2"]) == 0
        assert (len(former.posted()), len(daemon.posted())) == (1, 1)


def test_leader_is_an_option_of_what_only_reads(daemon: ToldDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    with told_daemon(status=status(is_leader=False)) as follower:
        leader = {"id": "1", "name": "x", "hostname": "x", "addr": daemon.address}
        follower.answers |= {"status": status(is_leader=False, leader=leader), "peers": ["the follower's"]}
        daemon.answers["peers"] = ["the leader's"]
        assert main(["--url", follower.url, "--json", "peers"]) == 0
        assert main(["--url", follower.url, "--json", "--leader", "peers"]) == 0
    assert capsys.readouterr().out.split("\n") == ["[", '  "the follower\'s"', "]", "[", '  "the leader\'s"', "]", ""]


def test_without_a_leader_the_status_is_4(daemon: ToldDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["status"] = status(is_leader=False, leader=None)
    assert main(["--url", daemon.url, "--timeout", "600ms", "scale", "site", "web", "2"]) == 4
    assert "no leader within 0.6 s" in capsys.readouterr().err
    assert daemon.posted() == []


def test_rerender_asks_the_node_that_is_named(daemon: ToldDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    with told_daemon(force_render_all="ok", roles_data={"to_render": {"site": {}}}) as beta:
        here = {"alpha": NODES["alpha"], "beta": NODES["beta"] | {"addr": beta.address}}
        daemon.answers |= {"nodes": here, "force_render_all": "ok"}
        assert main(["--url", daemon.url, "rerender"]) == 0
        assert daemon.posted() == [("force_render_all", {})]
        assert main(["--url", daemon.url, "rerender", "site", "--node", "beta"]) == 0
        assert beta.posted() == [("force_render_all", {"roles": ["site"]})]
        assert main(["--url", daemon.url, "rerender", "nope", "--node", "beta"]) == 6
        assert main(["--url", daemon.url, "rerender", "--node", "nope"]) == 6


def test_logs_are_read_from_their_end(daemon: ToldDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers |= {"log/global/latest": (206, b"one\ntwo\nthree\n"), "log/role/site/latest": (416, b"")}
    assert main(["--url", daemon.url, "logs", "-n", "2"]) == 0
    assert capsys.readouterr().out == "two\nthree\n"
    assert daemon.asked[-1].headers["Range"] == "bytes=-65536"
    assert main(["--url", daemon.url, "logs", "site"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["--url", daemon.url, "logs", "nope"]) == 6


# -- connections, tokens, usage


def test_nobody_there_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:  # bound but not listening: refused, and nobody else can take the port
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        assert main(["--url", url, "status"]) == 3
    assert capsys.readouterr().err == f"verwalter-ctl: {url}: Connection refused\n"


def test_a_daemon_that_says_nothing_is_waited_for_as_long_as_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert main(["--url", url, "--timeout", "300ms", "status"]) == 4
    assert "no answer within 0.3 s" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8379", "http://x/path", "http://[::1", "http://"])
def test_urls_that_are_none_are_status_2(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", url, "status"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_token_comes_from_the_option_the_environment_or_the_home_directory(
    daemon: ToldDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sent(*options: str) -> str | None:
        assert main(["--url", daemon.url, *options, "--json", "status"]) == 0
        return daemon.asked[-1].headers.get("Authorization")

    assert sent() is None
    (tmp_path / ".config/manor").mkdir(parents=True)
    (tmp_path / ".config/manor/token").write_text("ann.home\n")
    assert sent() == "Bearer ann.home"
    monkeypatch.setenv("VERWALTER_TOKEN", "ann.environment")
    assert sent() == "Bearer ann.environment"
    (tmp_path / "t").write_text("ann.file\n")
    monkeypatch.setenv("VERWALTER_TOKEN", str(tmp_path / "t"))
    assert sent() == "Bearer ann.file"
    (tmp_path / "u").write_text("ann.option\n")
    assert sent("--token-file", str(tmp_path / "u")) == "Bearer ann.option"
    capsys.readouterr()
    (tmp_path / "u").write_text("two words\n")
    assert main(["--url", daemon.url, "--token-file", str(tmp_path / "u"), "status"]) == 2
    assert main(["--url", daemon.url, "--token-file", str(tmp_path / "nope"), "status"]) == 2


@pytest.mark.parametrize(
    "words",
    ["plan", "node beta drain", "tail role/site", "history list", "shadow list", "backup list", "dc list",
     "fetch-runtime x", "logs -f", "logs --deployment x", "simulate policy x", "simulate election --scenario x",
     "run-scheduler x --input y --query-metrics"],
)  # fmt: skip
def test_what_is_not_there_yet_says_so(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert capsys.readouterr().err.rstrip().endswith("is not supported yet")


@pytest.mark.parametrize(
    "words",
    ["", "nonsense", "--timeout 5 status", "--watch=x status", "update site start", "update site pause now",
     "update site error", "update site start v1 --step x", "scale site web many", "status extra"],
)  # fmt: skip
def test_bad_usage_is_status_2(words: str) -> None:
    try:
        exit_status = main(words.split())
    except SystemExit as error:
        exit_status = int(str(error.code))
    assert exit_status == 2


def test_start_up_loads_little() -> None:
    code = "import sys, manor.verwalter.ctl.command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "asyncio", "numpy", "nacl", "rich", "yaml"} & set(loaded)
