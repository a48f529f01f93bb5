"""The scheduler in a process of its own, with limits: slow, greedy or dead, it never stops the daemon.

`engines.py` finds and loads a scheduler (the table of engines is there), `child.py` is the process around it,
`client.py` the daemon's side. They exchange JSON messages, each after its length in four bytes.
"""
