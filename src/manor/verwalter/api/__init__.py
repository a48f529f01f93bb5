"""The HTTP API: `routes.py` is the table of all paths; each other file holds the answers of one subject.

Documents are made by pure functions from a `Node` and the moment; handlers only check and translate errors.
"""
