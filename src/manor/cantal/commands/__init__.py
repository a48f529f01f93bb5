"""What `cantal WORD` does, a file per word; `../command.py` finds them by name.

Each has `add_arguments(parser)` and `run(options) -> exit status`, and raises ManorError for what can be expected.
"""
