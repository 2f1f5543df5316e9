"""Storage: objects by key; one protocol (``protocol``), one module a kind of storage."""
