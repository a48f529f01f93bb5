"""What lithos_ps shows: `scan.py` reads records and /proc, the others make text of it."""
