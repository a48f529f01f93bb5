"""Linux, typed and without policy: namespaces, mounts, id maps, cgroups, /proc, pidfds, paths resolved inside a root.

This room knows nothing of manor: no file format, no daemon, no path of ours. Everything raises OSError with the
kernel's word. Read `pidfds.py` first; each other file is one kernel facility.
"""
