"""The practice engine: what it finds, how its pages read, how it misbehaves."""
