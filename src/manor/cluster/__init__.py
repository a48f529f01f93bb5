"""Several nodes on one machine, made of namespaces: the demo and the system tests.

A node runs the very daemons a real machine would run. Read `node.py` first.
"""
