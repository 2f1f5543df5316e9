"""Every queue, held to one contract."""
