"""Index, transport, staging and commit of images and configs; it is told where they go.

This room never knows verwalter or lithos. Read `index.py` first.
"""
