"""Cluster key, sealed packets, signed requests, bearer tokens; the same for cantal, verwalter and delivery.

This room never knows what it protects, and never looks at a clock by itself where a test should say the time. Read
`keys.py` first (the key file, sealed packets), then `requests.py` (between nodes), then `tokens.py` (people).
"""
