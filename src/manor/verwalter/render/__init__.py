"""Rendering one role: templates and variables in, files and a few allowed commands out.

It never decides what runs; it does what the render files of the node's administrators say. Read `command.py` first,
then `role.py`; `commands/table.py` lists what a render file may ask for, one file each.
"""
