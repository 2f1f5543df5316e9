"""Workers: each stage opened from a place, and as a loop over its queue.

Threads of one run, processes on a broker and functions on AWS open the same steps here; one module a
stage, so that none imports what another needs.
"""
