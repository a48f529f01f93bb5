"""The last hour, sample by sample, and the newest States.

What is kept here: keys and series (`keys.py`, `series.py`), a rectangle of samples as arrays (`frame.py`), chunks of
60 ticks, open and sealed (`chunk.py`, `codec.py`), the store that strings them together (`store.py`) and its files
(`chunk_file.py`, `directory.py`). This room never knows where a sample came from or what is asked of it.
Read `store.py` first.
"""
