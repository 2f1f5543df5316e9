"""Functions: stages as AWS Lambda calls them. The doors in ``lambdas/`` only name what is here.

Nothing is opened before the first event; what was opened then serves every later one. One module a
function, so that none imports what another needs.
"""
