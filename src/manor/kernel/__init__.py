"""Linux, typed and without policy. This room knows nothing of manor: no file format, no daemon, no path of ours.

    pidfds.py      processes held by descriptor: signals, exit status, descriptors taken over
    process.py     what a process sets for itself, and what /proc tells of others
    namespaces.py  entering and leaving namespaces
    mounts.py      mounting, unmounting, overlays, the table of mounts
    id_map.py      user and group ids inside and outside of a user namespace
    cgroups.py     control groups, whether v1, hybrid or v2
    inside.py      paths looked up inside somebody else's root (openat2)
    links.py       network links, addresses and routes (netlink)
    syscalls.py    the C library, for what Python has no name for

Read `pidfds.py` first; each file is one facility of the kernel and none needs more than one other. What the kernel
refuses is an OSError with the kernel's word; errors of our own making say so in their names.
"""
