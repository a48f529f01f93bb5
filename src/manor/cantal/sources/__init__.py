"""Where numbers come from: one file per source, all of them in `table.py`.

A source of one kernel file is a pair of pure functions (`file_source.py`): text to numbers, and shape of the text to
series. What needs more than one file at a time (processes, control groups, values files, file systems) has a class
with `scan(...)`. This room never knows how samples are stored or asked for. Read `table.py` first.
"""
