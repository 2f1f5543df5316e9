"""AWS doors: a handler turns an event into a call of ``pipeline.steps`` and its outcome into an answer.

A handler is about ten lines and imports only ``pipeline``.
"""
