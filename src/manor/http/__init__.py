"""What both agents' servers share: formats by suffix, errors, limits, Host and Origin checks, access, static pages.

This room never knows what is served. Read `service.py` first: it is the shell, and the one file that imports the HTTP
library. `message.py` is what handlers see, `routes.py` finds them, `access.py` decides who may, `formats.py` writes
answers, `connections.py` bounds who may hold a connection, `pages.py` finds static files.
"""
