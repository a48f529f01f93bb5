"""Data of the whole cluster: connections to the other agents, made only when somebody asks, and merging what they say.

Read `mesh.py` first. `merge.py` and `ticks.py` are pure functions over arrays.
"""
