"""cantal: what is going on, here and everywhere? Measures every 2 seconds, keeps an hour, finds peers by gossip.

This room never knows what is done with what it measured. Read `agent.py` first; `client.py` (publish) and
`query_client.py` (ask) are the modules guests may import.
"""
