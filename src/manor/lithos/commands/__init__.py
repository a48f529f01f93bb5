"""The commands of lithos: one file each, imported when it is called. Read `tree.py` first."""
