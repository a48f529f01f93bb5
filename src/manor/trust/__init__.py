"""Cluster key, sealed packets, signed requests, bearer tokens; the same for cantal, verwalter and delivery.

This room never knows what it protects. Read `keys.py` first.
"""
