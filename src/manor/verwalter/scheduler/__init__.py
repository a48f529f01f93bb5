"""The declarative scheduler: `roles.yaml` and the state of the cluster in, a schedule out.

A pure function: no clock, no random number, no file after loading; equal input gives byte-equal output. It never
knows who called it. Read `roles.py` first; `declaration.py` is the file's format, `state.py` what is remembered.
"""
