"""An OCI bundle as data, the driver of an OCI runtime (runc or crun), and manor-init; shared by vagga and lithos.

    bundle.py       what a runtime is told about a container, and how it is written
    defaults.py     mounts and hidden paths that nearly every container has
    seccomp.py      the system calls a production container may make
    choice.py       which runtime works on this host
    runtime.py      calling it: run, create, start, exec, state, list, kill, delete
    descriptors.py  what goes through a runtime into a container, and what runtimes do to it
    tmpfs_modes.py  what runc does wrong between `create` and `start`
    console.py      the terminal of a container
    init.c, init.py the program that is process 1 of every container, and how it is called

This room never decides what to run or when to restart it. Read `bundle.py` first, then `runtime.py`.
"""
