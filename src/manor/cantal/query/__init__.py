"""Questions about samples: a document of rules in, datasets out. Pure functions over arrays.

The way of a question: `document.py` checks it (every mistake is named by its JSON path), `evaluate.py` selects
columns (`conditions.py`), takes samples (`extracts.py`) and applies the functions (`functions.py`, the table) from
dataset to dataset (`datasets.py`); `combine.py` calculates between rules, `encode.py` writes the answer. This room
never knows whether the samples are of this machine. Read `evaluate.py` first.
"""
