"""What both agents' servers share: formats by suffix, errors, limits, Host and Origin checks, access, static pages.

This room never knows what is served. Read `service.py` first.
"""
