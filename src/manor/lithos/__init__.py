"""lithos: keep these processes running here. Supervises the containers of one machine from files.

This room never knows of other machines. Read `commands/tree.py` first; `process_config.py` is the one module guests
may import. The way of the data:

    files/  the files as frozen structs  ->  rules/  what must hold between them  ->  configured.py  all of it, with
    every problem at its place  ->  supervision/  decides, without I/O  ->  master.py  performs, by means of
    containers/  one container from start to removal
"""
