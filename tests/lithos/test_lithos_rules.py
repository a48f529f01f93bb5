"""The rules between the files: who may run as whom, with which ports, volumes and variables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lithos_wanted import container, entry, errors, instance, limits, settled

from manor.lithos.files.container import (
    ChoiceVariable,
    DottedNameVariable,
    NameVariable,
    TcpPort,
    TcpPortVariable,
    VariableType,
)
from manor.lithos.files.processes import ProcessEntry, config_log_document, entry_of_instance
from manor.lithos.files.ranges import IdMapEntry, Span
from manor.lithos.files.volumes import Persistent, Readonly, Tmpfs
from manor.lithos.rules.order import order_problems
from manor.lithos.rules.settle import image_name_problem
from manor.lithos.rules.variables import substitute, value_problem
from manor.lithos.rules.volumes import HostPart, host_part

MAP = (IdMapEntry(inside=0, outside=10_000, count=1000),)


def only_error(**options: Any) -> str:
    made, findings = settled(**options)
    assert made is None
    (text,) = errors(findings)
    return text


# --- identity ---------------------------------------------------------------------------------------------------------


def test_a_process_is_the_user_it_asks_for_or_the_default_one() -> None:
    assert instance(user_id=5, group_id=6).identity.uid == 5
    assert (instance().identity.uid, instance().identity.gid) == (1, 0)


def test_an_id_is_refused_when_it_is_missing_or_not_allowed() -> None:
    assert "no user id" in only_error(sandbox=limits(default_user=None))
    assert only_error(user_id=500) == "user id 500 is not allowed; the sandbox allows 1-100"
    assert "`allow-users` is empty" in only_error(sandbox=limits(allow_users=()))
    assert "group id 200 is not allowed" in only_error(group_id=200)


def test_the_map_of_a_sandbox_must_know_the_ids() -> None:
    mapped = limits(uid_map=MAP, gid_map=MAP, allow_users=(Span(0, 5000),))
    assert instance(sandbox=mapped, user_id=3).identity.host_uid == 10_003
    assert "is not mapped by the sandbox's id map" in only_error(sandbox=mapped, user_id=2000)


def test_the_map_of_a_container_must_stay_within_what_is_allowed() -> None:
    inner = {"uid_map": MAP, "gid_map": MAP, "user_id": 3}
    wide = limits(allow_users=(Span(10_000, 10_999),), allow_groups=(Span(10_000, 10_999),))
    assert instance(sandbox=wide, **inner).identity.host_uid == 10_003
    narrow = limits(allow_users=(Span(10_000, 10_500),), allow_groups=(Span(10_000, 10_999),))
    assert "10000-10999 outside is not within a range" in only_error(sandbox=narrow, **inner)
    both = limits(uid_map=MAP, gid_map=MAP, allow_users=(Span(0, 20_000),), allow_groups=(Span(0, 20_000),))
    assert "both the sandbox and the container config have id maps" in only_error(sandbox=both, **inner)


# --- variables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (TcpPortVariable(), ["1", "65535", "080"], ["0", "65536", "http", "", "-1", "٣"]),
        (ChoiceVariable(choices=("a", "b")), ["a"], ["A", "", "ab"]),
        (NameVariable(), ["a-b_C9"], ["", "a.b", "a b", "ä"]),
        (DottedNameVariable(), ["a", "a.b-c.d_e"], ["", ".", "a.", ".a", "a..b", "-a", "a-.b", "a/b"]),
    ],
)
def test_values_fit_their_types(kind: VariableType, good: list[str], bad: list[str]) -> None:
    assert [value_problem(kind, value) for value in good] == [None] * len(good)
    assert all(value_problem(kind, value) is not None for value in bad)


@given(st.text(alphabet="@{}ab lithos:", max_size=40))
def test_text_without_known_names_stays_as_it_is(text: str) -> None:
    assert substitute(text, {}) == text


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_was_put_in_is_not_looked_at_again(before: str, after: str) -> None:
    plain = (before + after).replace("@", "")
    assert substitute(plain[: len(before)] + "@{x}" + plain[len(before) :], {"x": "@{x}"}).count("@{x}") == 1


def test_references_must_resolve() -> None:
    assert "unknown variable `nobody`" in only_error(arguments=("@{nobody}",))
    assert "must be the sole value" in only_error(arguments=("@{lithos:pid}",))
    made = instance(environ={"P": "@{ lithos:pid }", "N": "@{lithos:name}", "C": "@{lithos:config_filename}"})
    assert made.pid_variables == ("P",)
    assert dict(made.environ) == {"N": "shop/web.0", "C": "/config/web.yaml"}


# --- ports ------------------------------------------------------------------------------------------------------------


def test_ports_come_from_variables_and_must_be_allowed() -> None:
    options: dict[str, Any] = {"variables": {"p": TcpPortVariable()}, "tcp_ports": {"@{p}": TcpPort(fd=3)}}
    made = instance(of=entry(variables={"p": "8001"}), **options)
    assert [(str(port.address), port.fd) for port in made.ports] == [("0.0.0.0:8001", 3)]
    refused = errors(settled(of=entry(variables={"p": "9000"}), **options)[1])
    assert refused == ["port 9000 is not in the sandbox's `allow-tcp-ports`: 8000-8099"] * 2, "both places are named"


def test_descriptors_are_given_once_and_within_limits() -> None:
    twice = {"8001": TcpPort(fd=3), "8002": TcpPort(fd=3)}
    assert "fd 3 is used by port 8001 already" in only_error(tcp_ports=twice)
    assert "is not below `fileno-limit` 64" in only_error(tcp_ports={"8001": TcpPort(fd=64)}, fileno_limit=64)


def test_activated_ports_are_numbered_by_name_and_own_their_variables() -> None:
    activated = {name: TcpPortVariable(activation="systemd") for name in ("b", "a")}
    values = entry(variables={"a": "8001", "b": "8002"})
    made = instance(of=values, variables=activated)
    assert [(port.address.port, port.fd) for port in made.ports] == [(8001, 3), (8002, 4)]
    assert "is set by `activation: systemd`" in only_error(of=values, variables=activated, environ={"LISTEN_FDS": "1"})
    taken = {"8003": TcpPort(fd=4)}
    assert "fd 4 is the one of variable `b`" in only_error(of=values, variables=activated, tcp_ports=taken)
    same = entry(variables={"a": "8001", "b": "8001"})
    assert only_error(of=same, variables=activated) == "port 8001 is given twice; one item per port"


# --- volumes ----------------------------------------------------------------------------------------------------------


def test_the_longest_virtual_path_wins_component_by_component() -> None:
    offered = limits(
        readonly_paths={"/": "/host", "/data": "/srv/data"}, writable_paths={"/data/deep": "/srv/deep", "/datab": "/no"}
    )
    assert host_part(Readonly(path="/data/x/y"), offered) == HostPart(base="/srv/data", beneath="x/y")
    assert host_part(Readonly(path="/database"), offered) == HostPart(base="/host", beneath="database")
    assert host_part(Persistent(path="/data/deep"), offered) == HostPart(base="/srv/deep", beneath="")
    assert host_part(Persistent(path="/data"), offered) is None


def test_a_volume_that_is_not_offered_names_the_option_to_add() -> None:
    assert "is not in `writable-paths` of the sandbox" in only_error(volumes={"/data": Persistent(path="/db")})
    assert "`readonly-paths` or `writable-paths`" in only_error(volumes={"/data": Readonly(path="/db")})


def test_volumes_are_mounted_shorter_mount_points_first() -> None:
    made = instance(volumes={"/a/b/": Tmpfs(), "/a": Tmpfs(), "/c/d/e": Tmpfs()})
    assert [volume.mount_point for volume in made.volumes] == ["/a", "/a/b", "/c/d/e"]


def test_owners_are_mapped_and_old_configs_still_mean_host_ids() -> None:
    mapped = limits(uid_map=MAP, gid_map=MAP, allow_users=(Span(0, 999),), writable_paths={"/": "/srv"})
    made = instance(sandbox=mapped, volumes={"/data": Persistent(user=1, group=2)})
    assert made.volumes[0].owner == (10_001, 10_002)
    old, findings = settled(sandbox=mapped, volumes={"/data": Persistent(user=10_001)})
    assert old is not None and old.volumes[0].owner == (10_001, 10_000)
    assert ["taken as an id of the host" in finding.text for finding in findings] == [True]
    assert "is not mapped by the id map" in only_error(sandbox=mapped, volumes={"/data": Persistent(user=5000)})


# --- entries ----------------------------------------------------------------------------------------------------------


def test_kinds_must_fit() -> None:
    assert "this is a Daemon, the processes file wants a Command" in only_error(of=entry(kind="Command"))
    assert instance(of=entry(kind="Command"), kind="CommandOrDaemon", name="shop/cmd.web.7") is not None


@pytest.mark.parametrize(
    ("image", "levels", "is_good"),
    [
        *((image, image.count("/") + 1, True) for image in ("a", "a/b", "a.b_c-1")),
        *((image, image.count("/") + 1, False) for image in ("../a", "a/./b", "/a", "", "a//b", ".", "..")),
        ("a/b", 1, False),
    ],
)
def test_image_names_stay_below_their_directory(image: str, levels: int, is_good: bool) -> None:
    assert (image_name_problem(image, levels) is None) == is_good


def test_the_instance_config_is_canonical() -> None:
    web = ProcessEntry(
        image="shop.4a20772b", config="/config/web.yaml", instances=3, variables={"port": "8080"}, after=("api",)
    )
    text = (
        '{"instances":1,"image":"shop.4a20772b","config":"/config/web.yaml",'
        '"variables":{"port":"8080"},"kind":"Daemon"}'
    )
    assert web.instance_config(0) == text
    assert entry_of_instance(text).instance_config(0) == text
    mixed = ProcessEntry(
        image="i",
        config="/c",
        variables={"b": "ä", "a": '"'},
        ip_addresses=("10.0.0.1", "10.0.0.2"),
        extra_secrets_namespaces=("x",),
    )
    assert mixed.instance_config(1) == (
        '{"instances":1,"image":"i","config":"/c","variables":{"a":"\\"","b":"ä"},'
        '"extra_secrets_namespaces":["x"],"ip_address":"10.0.0.2","kind":"Daemon"}'
    )
    with pytest.raises(ValueError, match="not an instance config"):
        entry_of_instance("{}")


def test_the_config_log_has_entries_by_name() -> None:
    text = config_log_document({"b": entry(instances=2), "a": entry(kind="Command")})
    assert text == (
        '{"a":{"instances":1,"image":"first","config":"/config/web.yaml","kind":"Command"},'
        '"b":{"instances":2,"image":"first","config":"/config/web.yaml","kind":"Daemon"}}'
    )


def test_orders_that_name_nobody_or_go_in_a_circle() -> None:
    entries = {
        "shop": {
            "a": entry(after=("b", "other/x")),
            "b": entry(after=("c",)),
            "c": entry(after=("a",)),
            "d": entry(after=("nobody", "job")),
            "job": entry(kind="Command"),
        },
        "other": {"x": entry()},
    }
    found = [(process, index, text.split(";")[0]) for _, process, index, text in order_problems(entries)]
    assert found == [
        ("a", 0, "`after` goes in a circle: shop/a after shop/b after shop/c after shop/a"),
        ("d", 0, "`shop/nobody` is no Daemon of these files"),
        ("d", 1, "`shop/job` is no Daemon of these files"),
    ]


def test_a_probe_of_a_shared_socket_proves_nothing() -> None:
    from manor.lithos.files.probes import HttpProbe, Probe

    held = {"8001": TcpPort(fd=3)}
    assert "is a socket held by lithos" in only_error(tcp_ports=held, readiness=Probe(tcp="8001"))
    http = Probe(http=HttpProbe(port="8001"))
    assert instance(tcp_ports=held, readiness=http).readiness is not None
    assert "any may answer" in only_error(of=entry(instances=2), tcp_ports=held, readiness=http)


def test_output_on_nothing_that_stays_is_a_warning() -> None:
    made, findings = settled(stdout_stderr_file="/tmp/log", volumes={"/tmp": Tmpfs()})
    assert made is not None
    assert [finding.warning for finding in findings] == [True]
    assert container().stdout_stderr_file is None
