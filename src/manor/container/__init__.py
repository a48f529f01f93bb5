"""An OCI bundle as data, the driver of an OCI runtime (runc or crun), and manor-init; shared by vagga and lithos.

This room never decides what to run or when to restart it. Read `bundle.py` first, then `runtime.py`; `init.c` is
the program that is PID 1 of every container.
"""
