"""The volume types: one file each, named by its tag in small letters. Start with `interface.py`, then `table.py`."""
