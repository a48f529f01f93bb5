"""What both agents' servers share: formats by suffix, errors, limits, Host and Origin checks, access, static pages.

This room never knows what is served. Read `service.py` first: what an agent uses. `answer.py` is the way of one request
through it; these two and `websocket.py` alone import the HTTP library. `message.py` is what handlers see, `routes.py`
finds them, `access.py` and `doorkeeper.py` decide who may, `formats.py` writes answers, `connections.py` bounds who may
hold a connection, `pages.py` finds static files.
"""
