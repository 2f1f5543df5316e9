"""What the work is: pure functions over bytes and frozen records.

Here belongs everything that gives the same answer for the same arguments: sharding, judging a
response, extraction, pacing arithmetic, the table's schema. No files, network, clock, randomness,
environment or logging; those are arguments or they live in ``pipeline``.
"""
