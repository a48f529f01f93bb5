import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from manor import cli
from manor.cli import doctor, init, status
from manor.trust.keys import ClusterKeys, generate_key


def run_init(folder: Path, *options: str) -> int:
    return init.main(["--directory", str(folder / "manor"), "--config-dir", str(folder / "verwalter"), *options])


def test_init_makes_a_key_and_limits_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_init(tmp_path) == 0
    key, limits = tmp_path / "manor/cluster.key", tmp_path / "verwalter/sandbox/limits.yaml"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert ClusterKeys.read(key)
    assert "allow-commands: [lithos_switch]" in limits.read_text()
    said = capsys.readouterr().out
    assert f"{key}: made a new cluster key\n" in said
    assert key.read_text().strip() not in said
    before = key.read_bytes()
    limits.write_text("allow-commands: [nginx]\n")
    assert run_init(tmp_path) == 0
    assert key.read_bytes() == before and limits.read_text() == "allow-commands: [nginx]\n"
    assert capsys.readouterr().out.count("nothing changed") == 2


def test_init_takes_the_key_of_a_cluster_that_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "given.key"
    given.write_text(generate_key())
    given.chmod(0o600)
    assert run_init(tmp_path / "a", "--key-from", str(given)) == 0
    assert (tmp_path / "a/manor/cluster.key").read_bytes() == given.read_bytes()
    assert run_init(tmp_path / "a", "--key-from", str(given)) == 0
    assert run_init(tmp_path / "b") == 0
    assert run_init(tmp_path / "b", "--key-from", str(given)) == 1
    assert "holds other keys than" in capsys.readouterr().err


def test_init_does_not_copy_what_is_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "given.key"
    given.write_text("hunter2\n")
    given.chmod(0o600)
    assert run_init(tmp_path, "--key-from", str(given)) == 1
    assert capsys.readouterr().err == (
        f"manor init: {given}:1:1: this is no key; 32 bytes in base64 or hex would be right\n"
    )
    assert not (tmp_path / "manor").exists()


def test_doctor_has_a_line_for_each_need_and_fails_only_for_what_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = doctor.main(["--json"])
    findings = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert {"kernel", "OCI runtime", "manor-init", "overlayfs", "control groups", "rsync", "machine id"} <= set(
        findings
    )
    assert findings["kernel"]["verdict"] == "ok"
    assert outcome == any(finding["verdict"] == "lacking" for finding in findings.values())


def test_doctor_says_what_would_be_right(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "KERNEL_LEAST", (99, 0))
    monkeypatch.setattr(doctor, "CHECKS", (doctor.kernel,))
    assert doctor.main([]) == 1
    assert "Linux 5.6 or newer would be right" in capsys.readouterr().out


def test_status_is_a_table_of_nodes_with_the_leader_marked() -> None:
    lines = status.describe(
        {
            "version": "v1",
            "leader": {"hostname": "beta"},
            "roles": 3,
            "failed_roles": ["site"],
            "num_errors": 2,
            "errors": {"disk": "full"},
        },
        {"version": "1.0", "hostname": "alpha", "gossip": {"alive": 1, "suspect": 0, "dead": 1}},
        {
            "peers": [
                {"hostname": "gamma", "primary_addr": "10.0.0.3:22682", "state": "dead"},
                {"hostname": "beta", "primary_addr": "10.0.0.2:22682", "state": "alive"},
            ]
        },
    )
    assert list(lines) == [
        "verwalter  v1  leader beta  3 roles, 1 failed: site, 2 errors",
        "           disk: full",
        "cantal     1.0  1 alive, 0 suspect, 1 dead",
        "",
        "NODE   ADDRESS         STATE",
        "alpha  this node       alive",
        "beta   10.0.0.2:22682  alive  leader",
        "gamma  10.0.0.3:22682  dead",
    ]


def test_status_without_agents_is_no_connection(capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["--url", "http://127.0.0.1:9", "--cantal-url", "http://127.0.0.1:9"]) == 3
    assert capsys.readouterr().err.splitlines() == [
        "manor status: verwalter: no connection: 127.0.0.1:9: Connection refused",
        "manor status: cantal: no connection: 127.0.0.1:9: Connection refused",
    ]


def test_an_unknown_subcommand_is_usage_and_help_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pull"]) == 2
    assert "known are doctor, init, push, demo, status" in capsys.readouterr().err
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in cli.SUBCOMMANDS)


def test_a_subcommand_is_imported_only_when_it_is_called() -> None:
    code = (
        "import sys, manor.cli; sys.exit(any(m.startswith(('manor.cli.', 'aiohttp', 'asyncio')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
