"""The default profile: every call is decided, and a real container lives with it."""

from __future__ import annotations

import ctypes
import json
import platform

import pytest
from real_containers import Containers

from manor.container import bundle, seccomp
from manor.container.tmpfs_modes import set_tmpfs_modes
from manor.kernel import namespaces

NEWEST_KNOWN = 450  # set_mempolicy_home_node: the newest call of libseccomp 2.5.4

ATTEMPT = """
import ctypes, errno, json, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def attempt(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]
print(json.dumps({name: attempt(*call) for name, call in json.loads(sys.argv[1]).items()}))
"""

ORDINARY = """
import asyncio, concurrent.futures, mmap, multiprocessing, os, pathlib, select, shutil, signal, socket, sqlite3
import subprocess, tempfile, threading, time
place = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
(place / "a").write_text("x"); os.rename(place / "a", place / "b"); os.link(place / "b", place / "c")
os.symlink("b", place / "d"); os.mkfifo(place / "e"); os.chmod(place / "b", 0o600); os.chown(place / "b", 1000, 1000)
os.truncate(place / "b", 1 << 20); os.posix_fallocate(os.open(place / "b", os.O_RDWR), 0, 4096)
os.sendfile(os.open(place / "c", os.O_RDWR), os.open("/usr/bin/env", os.O_RDONLY), 0, 100)
assert subprocess.run(["/bin/sh", "-c", "echo $(id -u) | grep -q 1000"]).returncode == 0
assert concurrent.futures.ThreadPoolExecutor(4).submit(os.getpid).result() == os.getpid()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
async def talk():
    async def answer(reader, writer):
        writer.write(await reader.readline()); await writer.drain(); writer.close()
    by_address, by_path = asyncio.start_server(answer, "127.0.0.1", 0), asyncio.start_unix_server(answer, "/tmp/s")
    for server in (await by_address, await by_path):
        where = server.sockets[0].getsockname()
        opened = asyncio.open_unix_connection(where) if isinstance(where, str) else asyncio.open_connection(*where)
        reader, writer = await opened
        writer.write(b"hello\\n")
        assert await reader.readline() == b"hello\\n"
        writer.close(); server.close()
    assert (await (await asyncio.create_subprocess_exec("/bin/true")).wait()) == 0
asyncio.run(talk())
base = sqlite3.connect(place / "base"); base.execute("pragma journal_mode=wal")
base.execute("create table t(x)"); base.commit()
memory = mmap.mmap(-1, 1 << 20); memory.madvise(mmap.MADV_DONTNEED); memory.close()
signal.setitimer(signal.ITIMER_REAL, 60); os.sched_setaffinity(0, os.sched_getaffinity(0)); os.nice(1)
os.pidfd_open(os.getpid()); os.memfd_create("x"); os.getrandom(8); os.eventfd(0); os.sync(); os.setpgid(0, 0)
print("all done")
"""

# What is tried -> number of the call and arguments. Source: asm/unistd_64.h
DENIED_CALLS = {
    "mount": [165, 0, 0, 0, 0, 0],
    "umount2": [166, 0, 0],
    "pivot_root": [155, 0, 0],
    "unshare": [272, 0],
    "setns": [308, 0, 0],
    "clone with a namespace": [56, namespaces.NEWUSER | 17, 0, 0, 0, 0],
    "kexec_load": [246, 0, 0, 0, 0],
    "init_module": [175, 0, 0, 0],
    "delete_module": [176, 0, 0],
    "bpf": [321, 0, 0, 0],
    "perf_event_open": [298, 0, 0, 0, 0, 0],
    "reboot": [169, 0, 0, 0, 0],
    "swapon": [167, 0, 0],
    "acct": [163, 0],
    "settimeofday": [164, 0, 0],
    "clock_settime": [227, 0, 0],
    "add_key": [248, 0, 0, 0, 0, 0],
    "keyctl": [250, 0],
    "userfaultfd": [323, 0],
    "open_by_handle_at": [304, 0, 0, 0],
    "iopl": [172, 0],
    "ioperm": [173, 0, 0, 0],
    "personality without address randomisation": [135, 0x40000],
    "socket to the hypervisor": [41, 40, 1, 0],
    "open_tree": [428, 0, 0, 0],
    "io_uring_setup": [425, 0, 0],
}
UNKNOWN_CALLS = {"clone3": [435, 0, 0], "statmount": [457, 0, 0, 0, 0], "from the future": [600, 0]}
ALLOWED_CALLS = {
    "what the personality is": [135, 0xFFFFFFFF],
    "the usual personality": [135, 0],
    "socket": [41, 2, 1, 0],
    "getpid": [39],
}


def test_denied_calls_fail_as_without_privilege_and_unknown_ones_as_on_an_old_kernel(containers: Containers) -> None:
    assert platform.machine() == "x86_64", "the numbers of the calls above are those of x86_64"
    calls = {**DENIED_CALLS, **UNKNOWN_CALLS, **ALLOWED_CALLS}
    code, output = containers.run(
        ["/usr/bin/python3", "-c", ATTEMPT, json.dumps(calls)],
        linux={"seccomp": seccomp.DEFAULT_PROFILE},
        capabilities=["CAP_SYS_ADMIN", "CAP_SYS_TIME", "CAP_SYS_MODULE"],  # so that the filter alone can be the reason
    )
    assert code == 0, output
    answers = json.loads(output)
    assert {name: answers[name] for name in DENIED_CALLS} == dict.fromkeys(DENIED_CALLS, "EPERM")
    assert {name: answers[name] for name in UNKNOWN_CALLS} == dict.fromkeys(UNKNOWN_CALLS, "ENOSYS")
    assert {name: answers[name] for name in ALLOWED_CALLS} == dict.fromkeys(ALLOWED_CALLS, "done")


def test_ordinary_programs_do_their_work(containers: Containers) -> None:
    mount = bundle.Mount(destination="/tmp", type="tmpfs", source="tmpfs", options=("mode=1777",))
    shm = bundle.Mount(destination="/dev/shm", type="tmpfs", source="tmpfs", options=("mode=1777",))
    code, output = containers.run(
        ["/usr/bin/python3", "-c", ORDINARY],
        uid=1000,
        mounts=[mount, shm],
        linux={"seccomp": seccomp.DEFAULT_PROFILE},
        before_start=lambda pid: set_tmpfs_modes(pid, [("/tmp", 0o1777), ("/dev/shm", 0o1777)]),
    )
    assert (code, output) == (0, "all done\n")


def test_every_call_the_runtimes_library_knows_has_been_decided() -> None:
    """A call that is in no list gets ENOSYS, which must be meant: only clone3, whose flags cannot be seen."""
    known = names_known_to_libseccomp()
    assert len(known) > 300
    undecided = known - seccomp.ALLOWED - seccomp.DENIED - seccomp.CONDITIONAL
    assert undecided == {"clone3"}


def names_known_to_libseccomp() -> set[str]:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p
    native = library.seccomp_arch_native()
    found = {library.seccomp_syscall_resolve_num_arch(native, number) for number in range(NEWEST_KNOWN + 1)}
    return {name.decode() for name in found if name}


@pytest.mark.parametrize("machine", sorted(seccomp.ARCHITECTURES))
def test_a_profile_names_its_architectures_and_no_call_twice(machine: str) -> None:
    profile = seccomp.profile(machine)
    assert profile["architectures"] == list(seccomp.ARCHITECTURES[machine])
    rules = profile["syscalls"]
    assert isinstance(rules, list)
    unconditional = [name for rule in rules if not rule["args"] for name in rule["names"]]
    assert len(unconditional) == len(set(unconditional))
    assert not set(unconditional) & seccomp.CONDITIONAL
