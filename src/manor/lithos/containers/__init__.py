"""One container, from what is wanted of it to its last trace: sockets, directories, OCI bundle, start, removal.

Nothing here decides when. Read `launch.py` first.
"""
