"""manor beside the programs people would use instead, in the same run on the same machine.

Machines are noisy: every figure is a median of several runs taken in turn with the peer's, and what is printed is the
ratio. `python -m benchmarks` runs all in full size, `python -m benchmarks NAME...` some. Small sizes run with the
tests, so that none can rot.
"""
