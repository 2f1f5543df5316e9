"""Queues: one protocol (``protocol``), one module a kind of broker."""
