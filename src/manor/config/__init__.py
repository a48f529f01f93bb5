"""YAML with source positions -> msgspec structs, units, and the one way to word an error.

This room never knows what an option means: a tool's struct says the type, a `Dialect` says the tool's switches.
Read `loader.py` first.
"""
