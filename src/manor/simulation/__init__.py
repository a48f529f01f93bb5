"""Virtual clock and seeded network for the sans-IO cores.

This room never knows which protocol it carries: a node is whatever takes messages and ticks. Read `network.py`.
"""
