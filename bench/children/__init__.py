"""Programs that are measured: each runs as a process of its own, pinned to one core."""
