"""Gossip: who is in the cluster and who of them lives, found out by every agent for itself.

A core without I/O and a thin UDP shell. Read `core.py` first, then `messages.py`. This room never knows what a metric
is; it only carries the age of the last scan, so that a hung scanner is visible everywhere.
"""
