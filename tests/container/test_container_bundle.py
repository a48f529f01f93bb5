"""Bundles on disk are what the OCI runtime specification asks for, and nobody else reads them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from manor.container import bundle, defaults
from manor.kernel.id_map import IdRange


def test_a_config_is_written_with_the_specifications_names_and_without_defaults(tmp_path: Path) -> None:
    config = bundle.Config(
        process=bundle.Process(
            args=("/dev/.init", "--", "/bin/true"),
            cwd="/",
            user=bundle.User(uid=0, gid=0, umask=0o022),
            capabilities=bundle.Capabilities.same(["CAP_NET_BIND_SERVICE"]),
            rlimits=(bundle.Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=1024),),
            no_new_privileges=True,
        ),
        root=bundle.Root(path="/image", readonly=True),
        mounts=(defaults.PROC, defaults.read_only_bind("/host/file", "/file", options=("noexec",))),
        linux=bundle.Linux(
            namespaces=(bundle.Namespace(type="pid"), bundle.Namespace(type="network", path="/run/netns/x")),
            uid_mappings=bundle.id_mappings((IdRange(0, 100_000, 65_536),)),
            cgroups_path="/top/box.scope",
            resources=bundle.Resources(
                devices=(bundle.DeviceRule(allow=False, access="rwm"),), memory=bundle.Memory(limit=1, swap=1)
            ),
            rootfs_propagation="rprivate",
        ),
    )
    written = bundle.write_bundle(tmp_path / "box", config)
    assert written.config is config
    every = ["CAP_NET_BIND_SERVICE"]
    assert json.loads((tmp_path / "box" / "config.json").read_text()) == {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/dev/.init", "--", "/bin/true"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0, "umask": 18},
            "capabilities": dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), every),
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "/image", "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "nodev", "noexec"]},
            {
                "destination": "/file",
                "type": "bind",
                "source": "/host/file",
                "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
            },
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}],
            "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65_536}],
            "cgroupsPath": "/top/box.scope",
            "resources": {"devices": [{"allow": False, "access": "rwm"}], "memory": {"limit": 1, "swap": 1}},
            "rootfsPropagation": "rprivate",
        },
    }


def test_a_bundle_is_for_its_owner_only_and_replaces_the_one_before(tmp_path: Path) -> None:
    place = tmp_path / "box"
    for args in (("/old",), ("/new",)):
        process = bundle.Process(args=args, cwd="/", user=bundle.User(uid=0, gid=0))
        config = bundle.Config(process=process, root=bundle.Root(path="/image"), linux=bundle.Linux(namespaces=()))
        bundle.write_bundle(place, config)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [path.name for path in place.iterdir()] == ["config.json"]
    assert stat.S_IMODE((place / "config.json").stat().st_mode) == 0o600
    assert json.loads((place / "config.json").read_text())["process"]["args"] == ["/new"]
