"""One file each, with `add_arguments(parser)` and `run(arguments, session)`; the table of them is in `command.py`."""
