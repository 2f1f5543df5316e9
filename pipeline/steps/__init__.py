"""Steps: what happens to one message of a stage, the same on one machine, in a worker and in a function.

A step is called with a message's body. It returns when everything it leads to is stored or sent, and
raises otherwise: ``Permanent`` where no repetition can help. Each can be repeated at any point.
"""
