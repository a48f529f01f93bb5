"""`verwalter-ctl`: ask a daemon, and tell it what to do.

Here is a client of the HTTP API and nothing that decides. `command.py` holds the options and the table of subcommands;
each of them is one file of `subcommands/`, imported when it is called.
"""

from manor.verwalter.ctl.command import main

__all__ = ["main"]
