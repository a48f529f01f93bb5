"""lithos: keep these processes running here. Supervises the containers of one machine from files.

This room never knows of other machines. Read `commands/tree.py` first; `process_config.py` is the one module guests
may import.
"""
