"""The built-in commands, one file each, imported when called; `table.py` names them, `user.py` runs the project's own."""
