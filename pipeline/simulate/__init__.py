"""Simulate: the whole pipeline in one process, on a clock of its own, under faults drawn from a seed.

Steps, repairs and commits are the real ones. Queues, storage, catalog, pace store and engine are models that
keep the same promises as the real ones and no more: whatever those may do, these do, and a seed repeats it.
"""
