"""Package managers as build steps use them: apt, and Python's installers."""
