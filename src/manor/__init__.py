"""manor: build, run, measure and schedule services on machines you own.

Four tools, each useful alone: vagga builds images, lithos keeps containers running, cantal measures, verwalter
decides what runs where. `docs/internals.md` is the map of the rooms below this one.
"""

VERSION = "1.0.0.dev0"
