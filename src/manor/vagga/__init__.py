"""vagga: what does my program need to run? Builds images and development environments from `vagga.yaml`.

This room never knows where images are deployed. Read `entry.py` first.
"""
