"""Benchmarks: what Serpline costs beside its peers and beside the same work by hand, on this machine.

``python -m bench`` measures; nothing here is shipped. Every contender runs as a process of its own, and
its answers are compared with the others' before its time counts: failures are no speed.
"""
