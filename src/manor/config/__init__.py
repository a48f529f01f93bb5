"""YAML with source positions -> msgspec structs, units, and the one way to word an error.

This room never knows what an option means: a tool's struct says the type, a `Dialect` says the tool's switches.
Read `loader.py` first. The way of a file:

    files, syntax, compose, includes, globs   bytes -> nodes (`nodes`), bounded; libyaml's complaints in our words
    readers, and the *_reader(s) it is made of   nodes -> values, by the type hints of structs; `units` for numbers
    reading, report, errors                   where a walk stands, what it found wrong, how that is told
    plain_data                                nodes -> plain values where no struct says the type
"""
