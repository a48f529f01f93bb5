"""The system calls a production container may make: an allow-list, as the common container engines have one.

Three answers. What is allowed passes. What is denied, because it reaches beyond the container or into rarely used
parts of the kernel, fails with EPERM, as if a privilege were missing. All the rest, above all calls newer than this
list, fails with ENOSYS, so that the C library falls back to an older call. `clone3` is of that kind on purpose: its
flags are in memory, where a filter cannot look, while those of `clone` can be checked.

A name that the runtime's libseccomp does not know is passed over by runc and crun alike. Most calls of the allowed
list need no more thought than "a program does this to itself"; the reasons stand at the denied ones.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from typing import Final

from manor.kernel import namespaces

EPERM: Final = 1
ENOSYS: Final = 38

# The native architecture and the 32-bit one whose programs the same processor runs; a call by any other kills the
# process. x32 is left out: no distribution has programs of it, and each architecture costs every start some 10 ms.
ARCHITECTURES: Final[Mapping[str, tuple[str, ...]]] = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

_FILES: Final = """
    access cachestat chdir chmod chown chown32 chroot close close_range copy_file_range creat dup dup2 dup3 faccessat
    faccessat2 fadvise64 fadvise64_64 arm_fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32
    fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs
    fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat
    llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at
    newfstatat oldfstat oldlstat oldstat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev
    pwritev2 read readahead readdir readlink readlinkat readv removexattr removexattrat rename renameat renameat2
    rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink symlinkat sync
    sync_file_range sync_file_range2 arm_sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime
    utimensat utimensat_time64 utimes vmsplice write writev
"""
_WAITING: Final = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll
    ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4
"""
_MEMORY: Final = """
    brk cacheflush get_mempolicy madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
    mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    process_madvise process_mrelease remap_file_pages
"""
# ptrace and its kin: the kernel allows them among processes of one user, which debuggers and profilers need.
_PROCESSES: Final = """
    alarm arch_prctl breakpoint capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64
    futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid
    getpriority getrlimit getrusage getsid gettid ioprio_get ioprio_set kcmp kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self modify_ldt nice pause pidfd_getfd pidfd_open pidfd_send_signal
    prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall rseq rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address set_tls setpgid
    setpriority setrlimit setsid sgetmask sigaction sigaltstack signal sigpending sigprocmask sigreturn sigsuspend
    ssetmask tgkill tkill ugetrlimit vfork wait4 waitid waitpid
"""
_IDENTITY: Final = """
    getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid
    getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid
    setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
"""
_TIME: Final = """
    clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer
    gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
    times
"""
_TALKING: Final = """
    accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd
    recv recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 send sendmmsg
    sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketcall socketpair
"""
_ENVIRONMENT: Final = "getrandom oldolduname olduname sysinfo uname ustat"

_DENIED: Final[Mapping[str, str]] = {
    "the mount table, and namespaces": """
        fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr pivot_root setns umount
        umount2 unshare
    """,
    "the running kernel: its code, its tracing, its end": """
        afs_syscall bpf create_module delete_module finit_module get_kernel_syms init_module kexec_file_load kexec_load
        lookup_dcookie nfsservctl perf_event_open query_module reboot syslog uselib
    """,
    "one clock, one set of swap areas, quotas, accounts, names for all": """
        acct adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 quotactl quotactl_fd setdomainname
        sethostname settimeofday stime swapoff swapon
    """,
    "keyrings are not divided by namespaces": "add_key keyctl request_key",
    "files outside of the mount namespace can be opened by handle, and watched": """
        fanotify_init fanotify_mark open_by_handle_at
    """,
    "holds the kernel in the middle of a copy: what exploits are made of": "userfaultfd",
    "operations that pass by this filter": "io_uring_enter io_uring_register io_uring_setup",
    "hardware": "ioperm iopl vm86 vm86old",
    "where memory lies on the host's nodes": """
        mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node
    """,
    "the terminal of somebody else; numbers of file system types": "vhangup sysfs _sysctl",
    "calls that never were, or are no more": """
        bdflush break ftime getpmsg gtty idle lock mpx prof profil putpmsg security stty tuxcall ulimit vserver
    """,
}

NAMESPACE_FLAGS: Final = (
    namespaces.NEWNS,
    namespaces.NEWCGROUP,
    namespaces.NEWUTS,
    namespaces.NEWIPC,
    namespaces.NEWUSER,
    namespaces.NEWPID,
    namespaces.NEWNET,
)

_AF_VSOCK: Final = 40  # sockets to the hypervisor know no network namespace

# personality(2): Linux, Linux with 32-bit uname, both with the old version number, and the question what it is.
_PERSONALITIES: Final = (0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)
# The flags beside: no random addresses, a page at address 0, data that can be executed, and such. The question has
# them all, and bit 31, which tells it from them. What is not Linux (the low byte) gets ENOSYS: there is none any more.
_PERSONALITY_FLAGS: Final = tuple(1 << n for n in range(18, 28))
_PERSONALITY_QUESTION: Final = 1 << 31

ALLOWED: Final = frozenset(
    " ".join((_FILES, _WAITING, _MEMORY, _PROCESSES, _IDENTITY, _TIME, _TALKING, _ENVIRONMENT)).split()
)
DENIED: Final = frozenset(" ".join(_DENIED.values()).split())
CONDITIONAL: Final = frozenset({"clone", "personality", "socket"})

assert not ALLOWED & DENIED and not CONDITIONAL & (ALLOWED | DENIED)


def profile(machine: str) -> dict[str, object]:
    """The `linux.seccomp` of an OCI config for a machine as platform.machine() names it.

    Raises KeyError for one that has no list of architectures here.
    """
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": list(ARCHITECTURES[machine]),
        "syscalls": [
            _allow(sorted(ALLOWED)),
            _deny(sorted(DENIED)),
            _allow(["clone"], _has_bits(0, sum(NAMESPACE_FLAGS), 0)),
            *(_deny(["clone"], _has_bits(0, flag, flag)) for flag in NAMESPACE_FLAGS),
            *(_allow(["personality"], _equals(0, value)) for value in _PERSONALITIES),
            *(_deny(["personality"], _has_bits(0, bit | _PERSONALITY_QUESTION, bit)) for bit in _PERSONALITY_FLAGS),
            _allow(["socket"], {"index": 0, "value": _AF_VSOCK, "op": "SCMP_CMP_NE"}),
            _deny(["socket"], _equals(0, _AF_VSOCK)),
        ],
    }


def _allow(names: Iterable[str], *conditions: Mapping[str, object]) -> dict[str, object]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", "args": list(conditions)}


def _deny(names: Iterable[str], *conditions: Mapping[str, object]) -> dict[str, object]:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM, "args": list(conditions)}


def _equals(argument: int, value: int) -> dict[str, object]:
    return {"index": argument, "value": value, "op": "SCMP_CMP_EQ"}


def _has_bits(argument: int, mask: int, bits: int) -> dict[str, object]:
    """Of the bits in `mask` exactly those of `bits` are set."""
    return {"index": argument, "value": mask, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ"}


DEFAULT_PROFILE: Final = profile(platform.machine())
