"""What a process sees and may do: environment, files, volumes, identity, confinement."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from lithos_machine import SLEEPER, Machine, shell, wait_until

PATH = {"PATH": "/bin"}
WEB = {"web": {"image": "first", "config": "/config/web.yaml"}}


def with_tags(config: dict[str, Any], texts: dict[str, str]) -> str:
    """A config in which some options are YAML with tags, which JSON cannot write."""
    document = json.dumps({**config, **{name: f"<{name}>" for name in texts}})
    for name, text in texts.items():
        document = document.replace(f'"<{name}>"', text)
    return document


def run_script(machine: Machine, script: str, **options: Any) -> str:
    """What a script prints before it says `done`; the container sleeps on."""
    texts = {name: options.pop(name) for name in ("volumes", "variables") if name in options}
    config = shell(f"{script}\necho done; exec busybox sleep 1000", **{"environ": PATH, **options})
    machine.image("first", {"web": with_tags(config, texts)})
    machine.processes(WEB)
    machine.start()
    machine.wait_states(web_0="ready")
    wait_until(lambda: machine.said("done"), machine.describe())
    return machine.output().split(" -----\n", 1)[1]


def tree_of(path: Path) -> set[str]:
    return {str(one.relative_to(path)) for one in path.rglob("*")}


@pytest.mark.case("lithos-22")
def test_the_environment_is_exactly_what_is_written(machine: Machine) -> None:
    # YAML would make other things of these; the loader must not.
    config = "{executable: /bin/busybox, arguments: [env], environ: {A: yes, B: 010, C: 1.10, D: ''}}"
    machine.image("first", {"web": config})
    machine.processes(WEB)
    machine.start()
    wait_until(lambda: "exited with code 0" in machine.output(), "the end")
    first = machine.output().split("-----\n")[1].split("\n2")[0]
    assert sorted(first.splitlines()[:8]) == [
        "A=yes",
        "B=010",
        "C=1.10",
        "D=",
        "HOME=/",
        "LITHOS_CONFIG=/config/web.yaml",
        "LITHOS_NAME=shop/web.0",
        "TERM=xterm",
    ]


@pytest.mark.case("lithos-50")
def test_variables_are_filled_in_once_and_unclosed_ones_are_text(machine: Machine) -> None:
    config = {"executable": "/bin/busybox", "arguments": ["echo", "@{lithos:name}", "@{ x }", "@{open"]}
    machine.image("first", {"web": with_tags(config, {"variables": "{x: !Name }"})})
    machine.processes({"web": {**WEB["web"], "variables": {"x": "1", "undeclared": "y"}}})
    machine.start()
    wait_until(lambda: machine.said("shop/web.0 1 @{open"), machine.describe())


@pytest.mark.case("lithos-17")
def test_a_process_is_told_its_own_pid(machine: Machine) -> None:
    said = run_script(machine, 'echo "$PID = $$"', environ={**PATH, "PID": "@{lithos:pid}"})
    told, _, own = said.splitlines()[0].split()
    assert told == own
    machine.image("first", {"web": {**SLEEPER, "environ": {"PID": "x@{lithos:pid}"}}})
    refused = machine.check()
    assert refused.returncode == 1
    assert "must be the sole value of an environment item" in refused.stderr


@pytest.mark.case("lithos-23")
def test_the_image_is_read_only_and_stays_as_it_is(machine: Machine) -> None:
    machine.image()
    said = run_script(machine, "echo x > /x || true", volumes="{/tmp: !Tmpfs }")
    assert "Read-only file system" in said
    before = tree_of(machine.images / "first")
    assert machine.stop() == 0
    assert tree_of(machine.images / "first") == before
    assert not any("lithos" in name for name in before)


@pytest.mark.case("lithos-24")
def test_a_missing_mount_point_is_refused_not_made(machine: Machine) -> None:
    image = machine.image("first", {"web": with_tags(dict(SLEEPER), {"volumes": "{/missing/deep: !Tmpfs }"})})
    machine.processes(WEB)
    before = tree_of(image)
    checked = machine.check()
    assert checked.returncode == 1
    assert "mount point `/missing/deep` does not exist in the image" in checked.stderr
    machine.start()
    refusal = "mount point `/missing/deep` does not exist in the image"
    wait_until(lambda: any(refusal in str(one.error) for one in machine.instances().values()), machine.describe())
    assert (machine.metric("containers", "failures") or 0) >= 1
    assert tree_of(image) == before


@pytest.mark.case("lithos-25")
def test_a_tmpfs_has_its_mode_and_size_whatever_it_covers(machine: Machine) -> None:
    machine.image()
    (machine.images / "first/tmp").chmod(0o755)
    script = "busybox stat -c %a /tmp; echo x > /tmp/x && echo wrote; busybox df -k /tmp | busybox tail -1"
    said = run_script(machine, script, volumes="{/tmp: !Tmpfs {size: 8Mi}}")
    mode, wrote, size, *_ = said.splitlines()
    assert (mode, wrote) == ("777", "wrote")
    assert size.split()[1] == "8192"


@pytest.mark.case("lithos-26")
def test_a_persistent_directory_is_made_with_its_owner_mapped(machine: Machine) -> None:
    maps = [{"inside": 0, "outside": 10_000, "count": 1000}]
    machine.sandbox("shop", **{"uid-map": maps, "gid-map": maps, "writable-paths": {"/": str(machine.host_dir)}})
    volumes = "{/data: !Persistent {path: /db, mkdir: true, user: 1, mode: 0o700}}"
    assert "wrote" in run_script(machine, "echo x > /data/x && echo wrote", volumes=volumes)
    found = (machine.host_dir / "db").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (10_001, 0o700)
    assert (machine.host_dir / "db/x").stat().st_uid == 10_001


@pytest.mark.case("lithos-27")
def test_a_link_planted_in_a_writable_volume_is_not_followed(machine: Machine) -> None:
    machine.sandbox("shop", **{"writable-paths": {"/db": str(machine.host_dir)}})
    machine.host_dir.chmod(0o777)
    run_script(machine, "busybox ln -s /etc /data/evil", volumes="{/data: !Persistent {path: /db}}")
    machine.image("second", {"web": with_tags(dict(SLEEPER), {"volumes": "{/data: !Persistent {path: /db/evil}}"})})
    machine.processes({"web": {**WEB["web"], "image": "second"}})
    machine.signal(1)
    wait_until(lambda: "no link may be in it" in str(machine.instances()["shop/web.0"].error), machine.describe())
    assert machine.states() == {"shop/web.0": "waiting"}


@pytest.mark.case("lithos-28")
def test_hosts_is_mounted_over_a_file_and_not_over_a_link(machine: Machine) -> None:
    script = "busybox cat /etc/hosts; echo; busybox readlink /etc/hosts; true"
    for name in ("file", "link"):
        image = machine.image(name, {"web": shell(f"echo {name}; {script}", environ=PATH)})
        if name == "file":
            (image / "etc/hosts").write_text("")
        else:
            (image / "etc/hosts").symlink_to("/state/hosts")
    machine.sandbox("shop", **{"additional-hosts": {"db": "10.0.0.5"}})
    machine.processes({name: {"image": name, "config": "/config/web.yaml"} for name in ("file", "link")})
    machine.start()
    wait_until(lambda: machine.said("10.0.0.5 db") and machine.said("/state/hosts"), machine.describe())
    assert (machine.images / "file/etc/hosts").read_text() == ""


@pytest.mark.case("lithos-29")
def test_a_hosts_file_of_its_own(machine: Machine) -> None:
    image = machine.image()
    (image / "etc/hosts").write_text("")
    machine.sandbox("shop", **{"additional-hosts": {"db": "10.0.0.5"}})
    said = run_script(machine, "busybox cat /etc/hosts", **{"hosts-file": {"copy-from-host": False}})
    name = socket.gethostname()
    own = f"{socket.gethostbyname(name)} {name}"
    assert said.splitlines()[:4] == ["127.0.0.1 localhost.localdomain localhost", own, "10.0.0.5 db", "done"]


@pytest.mark.case("lithos-30")
def test_a_process_has_no_privileges(machine: Machine) -> None:
    machine.image()
    pid = run_script(machine, "true") and machine.pid("shop/web.0")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Groups"].strip() == ""


@pytest.mark.case("lithos-31")
def test_the_host_cannot_be_reached(machine: Machine) -> None:
    script = """
    busybox mount -t tmpfs none /tmp || echo no mount
    busybox unshare -m true || echo no unshare
    echo 1 > /proc/sys/kernel/panic || echo no write
    busybox wc -c < /proc/kcore || echo no read
    """
    said = run_script(machine, script)
    for line in ("no mount", "no unshare", "no write"):
        assert line in said
    assert "no read" in said or "\n0\n" in said


@pytest.mark.case("lithos-32")
def test_sys_of_a_user_namespace_is_read_only_and_the_host_keeps_its_files(machine: Machine) -> None:
    maps = [{"inside": 0, "outside": 10_000, "count": 1000}]
    machine.sandbox("shop", **{"uid-map": maps, "gid-map": maps})
    null = os.stat("/dev/null")
    said = run_script(machine, "echo 1 > /sys/kernel/profiling || echo denied; busybox ls /sys/class/net")
    assert "denied" in said and "lo" in said.splitlines()
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_mode) == (null.st_uid, null.st_mode)
    log = (machine.log_dir / "stderr/shop.log").stat()
    assert (log.st_uid, stat.S_IMODE(log.st_mode)) == (0, 0o644)


@pytest.mark.case("lithos-20")
def test_memory_is_limited(machine: Machine) -> None:
    eater = {"executable": "/bin/busybox", "arguments": ["dd", "if=/dev/zero", "of=/dev/null", "bs=60M", "count=1"]}
    machine.image("first", {"web": {**eater, "memory-limit": "20Mi"}})
    machine.processes(WEB)
    machine.start()
    wait_until(lambda: "killed by signal SIGKILL[9]" in machine.output(), machine.describe())
    assert "killed by signal SIGKILL[9]" in machine.log()


@pytest.mark.case("lithos-21")
def test_normal_exit_codes_are_no_failures(machine: Machine) -> None:
    script = """
    n=$(busybox cat /data/n || echo 0)
    echo $((n + 1)) > /data/n
    case $n in 0) exit 42;; 1) exit 200;; 2) exit 0;; esac
    exec busybox sleep 1000
    """
    machine.sandbox("shop", **{"writable-paths": {"/db": str(machine.host_dir)}})
    machine.host_dir.chmod(0o777)
    options = {"environ": PATH, "normal-exit-codes": [42, 200], "restart-timeout": 0.1}
    machine.image(
        "first", {"web": with_tags(shell(script, **options), {"volumes": "{/data: !Persistent {path: /db}}"})}
    )
    machine.processes(WEB)
    machine.start()
    wait_until(lambda: machine.metric("containers", "started") == 4, machine.describe())
    assert machine.metric("containers", "deaths") == 3
    assert machine.metric("containers", "failures") == 1


def test_output_goes_to_a_file_on_a_volume(machine: Machine) -> None:
    machine.sandbox("shop", **{"writable-paths": {"/logs": str(machine.host_dir)}})
    config = shell("echo hello", **{"stdout-stderr-file": "/data/web.log"})
    machine.image("first", {"web": with_tags(config, {"volumes": "{/data: !Persistent {path: /logs}}"})})
    machine.processes(WEB)
    machine.start()
    file = machine.host_dir / "web.log"
    wait_until(lambda: file.exists() and "exited with code 0" in file.read_text(), machine.describe())
    assert "hello" in file.read_text().splitlines()


def test_a_directory_of_devices_is_shown_as_dev(machine: Machine) -> None:
    devices = machine.root / "devices"
    assert machine.run("lithos_mkdev", devices).returncode == 0
    assert machine.run("lithos_mkdev", devices).returncode == 0
    assert machine.run("lithos_mkdev").returncode == 1
    machine.write_master(**{"devfs-dir": str(devices)})
    said = run_script(machine, "busybox ls /dev; echo x > /dev/null; echo x > /dev/x || true")
    assert {"null", "ptmx", "pts", "shm", "urandom"} <= set(said.splitlines())
    assert "Read-only file system" in said
