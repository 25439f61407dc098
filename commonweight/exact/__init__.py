"""Arithmetic with equal bits on every machine: elementwise IEEE binary32 and binary64 operations of numpy, one at a
time.

No BLAS, no fused operations, and no library reduction whose result could depend on its order: sums are exact,
maxima and sorts have no order to depend on. docs/protocol.md states every formula.
"""
