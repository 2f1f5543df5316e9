"""The whole system on an AWS emulator: what starts it, watches it, disturbs it, and the tests of it."""
