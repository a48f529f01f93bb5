"""verwalter: what should run where? Elects a leader, runs a scheduler, renders the schedule on every node.

This room never starts a process of a service itself: it writes files and calls the commands the node's
administrators allowed. Read `daemon.py` first.
"""
