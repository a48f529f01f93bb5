"""What a render file may ask for: one file each, listed in `table.py`.

A command is a struct with `texts()` (every string that is expanded, so that unknown names are found before anything
runs) and `execute(task)`.
"""
