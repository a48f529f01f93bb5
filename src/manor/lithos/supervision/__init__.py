"""The core: what to do with every instance, decided without any I/O.

Read `core.py` first; `phases.py` is its state table, `adoption.py` the table of what becomes of running containers.
"""
