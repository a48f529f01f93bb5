"""The commands: a file for each built-in one, imported when called (`table.py`); `user.py` runs the project's own."""
