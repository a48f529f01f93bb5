"""The shells of the daemon: each drives `node.Node` from one part of the outside, and decides nothing.

`network.py` packets, timers and downloads; `cantal.py` who the peers are; `rounds.py` the scheduler; `reports.py` the
way of node reports; `files.py` watched directories.
"""
