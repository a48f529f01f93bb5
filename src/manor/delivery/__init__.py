"""Index, transport, staging and commit of images and configs; it is told where they go.

This room never knows verwalter or lithos. Read `index.py` first: what an image is, to delivery. Then the two sides:
`staging.py` receives (`routes.py` are its doors), `push_plan.py` decides what the pusher does next and `push.py` does
it. `normal_form.py` says what a delivered file looks like.
"""
