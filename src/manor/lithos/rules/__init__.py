"""What must hold before an instance may start, and what follows for it: one rule, one file, pure functions.

`settle.py` applies them all; the checker, the master and lithos_cmd run that same code. Read it first.
"""
