"""The files lithos reads and writes, each as frozen data: four kinds of config, records, status.json.

Nothing here looks at the host: a reader gets the bytes or the path. Guests come in through `lithos.process_config`.
"""
